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

// checkInterval is how often a member that waits for others asks them what they know.
const checkInterval = 500 * time.Millisecond

// Await waits until the member takes part in its cluster, which has a leader then.
// What would make it wait for ever is an error: another cluster at the addresses of
// the others, or one that has removed this member.
func (p *Client) Await(ctx context.Context, c *clusterconfig.Cluster, s *etcdserver.EtcdServer, done <-chan struct{}, failure func() error) error {
	check := time.NewTimer(0)
	defer check.Stop()
	unknown := 0
	var last []Answer
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
			return fmt.Errorf("%w: fewer than half of the members have answered: %s", context.Cause(ctx), Unanswered(last))
		case <-check.C:
		}
		answers := p.Ask(ctx, others(s, c))
		if ctx.Err() == nil || last == nil {
			last = answers
		}
		known, answered := false, false
		for _, a := range answers {
			switch {
			case a.Err != nil:
				continue
			case a.Cluster != s.Cluster().ID():
				return fieldpath.New("etcd", "Config.Dir", "%w: the directory is of cluster %s, and the member at %s of %s: use the directory or the addresses of the other",
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
		// One that has just come back may not know yet.
		if unknown++; known || !answered {
			unknown = 0
		}
		if unknown > 4 {
			return RemovedError(s)
		}
		if err := CheckRefused(answers); err != nil {
			return err
		}
		check.Reset(checkInterval)
	}
}

// others are the PeerAddr of all members that are known, here or in c, but this one.
func others(s *etcdserver.EtcdServer, c *clusterconfig.Cluster) []string {
	var addresses []string
	for _, member := range s.Cluster().Members() {
		for _, u := range member.PeerURLs {
			addresses = append(addresses, memberaddr.HostPort(u))
		}
	}
	// Who has data knows the members better than its configuration.
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

// Removed tells whether the member knows that it has been removed.
func Removed(s *etcdserver.EtcdServer) bool {
	cluster, ok := s.Cluster().(interface{ IsIDRemoved(types.ID) bool })
	return ok && cluster.IsIDRemoved(s.MemberID())
}

// RemovedError is the error of a member that has been removed.
func RemovedError(s *etcdserver.EtcdServer) error {
	return fieldpath.New("etcd", "Config.Dir", "%w: the member in this directory, %s, is no longer of cluster %s: empty the directory, and have it added again and Join",
		errdefs.ErrRemoved, s.MemberID(), s.Cluster().ID())
}
