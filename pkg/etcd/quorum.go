package etcd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// checkInterval is how often a member that waits for others asks them what they know.
const checkInterval = 500 * time.Millisecond

// await waits until the member takes part in its cluster, which has a leader then.
// What would make it wait for ever is an error: another cluster at the addresses of
// the others, or one that has removed this member.
func (m *Member) await(ctx context.Context, c *Cluster, p *peers) error {
	s := m.etcd.Server
	check := time.NewTimer(0)
	defer check.Stop()
	unknown := 0
	var last []answer
	for {
		select {
		case <-s.ReadyNotify():
			return nil
		case <-m.done:
			if m.removed() {
				return m.removedError()
			}
			return m.err
		case <-ctx.Done():
			return fmt.Errorf("%w: fewer than half of the members have answered: %s", context.Cause(ctx), unanswered(last))
		case <-check.C:
		}
		answers := p.ask(ctx, m.others(c))
		if ctx.Err() == nil || last == nil {
			last = answers
		}
		known, answered := false, false
		for _, a := range answers {
			switch {
			case a.err != nil:
				continue
			case a.cluster != s.Cluster().ID():
				return fieldpath.New("etcd", "Config.Dir", "%w: the directory is of cluster %s, and the member at %s of %s: use the directory or the addresses of the other",
					ErrOtherCluster, s.Cluster().ID(), a.address, a.cluster)
			}
			answered = true
			for _, member := range a.members {
				known = known || member.ID == s.MemberID()
			}
		}
		if m.removed() {
			return m.removedError()
		}
		// One that has just come back may not know yet.
		if unknown++; known || !answered {
			unknown = 0
		}
		if unknown > 4 {
			return m.removedError()
		}
		if err := c.checkRefused(answers); err != nil {
			return err
		}
		check.Reset(checkInterval)
	}
}

// others are the PeerAddr of all members that are known, here or in c, but this one.
func (m *Member) others(c *Cluster) []string {
	var addresses []string
	for _, member := range m.etcd.Server.Cluster().Members() {
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

// removed tells whether the member knows that it has been removed.
func (m *Member) removed() bool {
	s := m.etcd.Server
	cluster, ok := s.Cluster().(interface{ IsIDRemoved(types.ID) bool })
	return ok && cluster.IsIDRemoved(s.MemberID())
}

func (m *Member) removedError() error {
	return fieldpath.New("etcd", "Config.Dir", "%w: the member in this directory, %s, is no longer of cluster %s: empty the directory, and have it added again and Join",
		ErrRemoved, m.etcd.Server.MemberID(), m.etcd.Server.Cluster().ID())
}
