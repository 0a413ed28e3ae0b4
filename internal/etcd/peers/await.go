// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// checkInterval is how often a member that waits for its cluster asks the other members.
const checkInterval = 500 * time.Millisecond

// Await waits until the member takes part in its cluster, and the cluster has a leader.
// Conditions under which it would wait forever are errors: another cluster at the
// addresses of the other members, or a cluster that has removed this member.
func (p *Client) Await(ctx context.Context, c *clusterconfig.Cluster, s *etcdserver.EtcdServer, done <-chan struct{}, failure func() error) error {
	check := time.NewTimer(0)
	defer check.Stop()
	unknown := 0
	var latest []Answer
	for {
		select {
		case <-s.ReadyNotify():
			return nil
		case <-done:
			if Removed(s) {
				return RemovedError(s)
			}
			return failure()
		case <-ctx.Done():
			return fmt.Errorf("%w: fewer than half of the members have answered: %s", context.Cause(ctx), Unanswered(latest))
		case <-check.C:
		}
		answers := p.Ask(ctx, others(s, c))
		if ctx.Err() == nil || latest == nil {
			latest = answers
		}
		known, answered := false, false
		for _, a := range answers {
			switch {
			case a.Err != nil:
				continue
			case a.Cluster != s.Cluster().ID():
				return fieldpath.New("", "Config.Dir", "%w: the directory belongs to cluster %s, but the member at %s to %s: use the directory or the addresses of the other cluster",
					errdefs.ErrOtherCluster, s.Cluster().ID(), a.Address, a.Cluster)
			}
			answered = true
			for _, member := range a.Members {
				known = known || member.ID == s.MemberID()
			}
		}
		if Removed(s) {
			return RemovedError(s)
		}
		// A member that has just restarted may not know yet.
		if unknown++; known || !answered {
			unknown = 0
		}
		if unknown > 4 {
			return RemovedError(s)
		}
		if err := checkRefused(answers); err != nil {
			return err
		}
		check.Reset(checkInterval)
	}
}

// others returns the PeerAddr of all other known members, from the data or from c.
func others(s *etcdserver.EtcdServer, c *clusterconfig.Cluster) []string {
	var addresses []string
	for _, member := range s.Cluster().Members() {
		for _, u := range member.PeerURLs {
			addresses = append(addresses, memberaddr.HostPort(u))
		}
	}
	// The data is more recent than the configuration.
	if len(addresses) < 2 {
		addresses = append(addresses, c.Join...)
		for _, address := range c.InitialCluster {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	return slices.DeleteFunc(addresses, func(address string) bool { return address == c.PeerAddr })
}

// Removed reports whether the member knows that it has been removed.
func Removed(s *etcdserver.EtcdServer) bool {
	cluster, ok := s.Cluster().(interface{ IsIDRemoved(types.ID) bool })
	return ok && cluster.IsIDRemoved(s.MemberID())
}

// RemovedError returns the error of a removed member.
func RemovedError(s *etcdserver.EtcdServer) error {
	return fieldpath.New("", "Config.Dir", "%w: member %s of this directory was removed from cluster %s: empty the directory, add the member again, and set Join",
		errdefs.ErrRemoved, s.MemberID(), s.Cluster().ID())
}
