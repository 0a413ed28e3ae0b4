package controlplane

import (
	"context"
	"errors"
	"fmt"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// ErrExternalEtcd is returned by what is for members in this process where etcd is
// elsewhere.
var ErrExternalEtcd = errors.New("controlplane: etcd is elsewhere (Config.Etcd.Endpoints): use its own tools")

// Members lists the members of the cluster that Config.Etcd.Name is one of, by name.
// It needs more than half of them, as the other methods here do. Like them it returns
// etcd.ErrStandalone for a member that is alone, and ErrExternalEtcd where etcd is elsewhere.
func (s *Server) Members(ctx context.Context) ([]etcd.ClusterMember, error) {
	if s.member == nil {
		return nil, ErrExternalEtcd
	}
	members, err := s.member.Members(ctx)
	return members, memberError(err)
}

// AddMember tells the cluster of a member that is going to join it, and returns what
// is Config.Etcd.Join there. It joins as a learner, without a vote, so that the
// cluster does not wait for it, and promotes itself when it has all data. There is one
// learner at a time. A leader waits until it has seen all members for five seconds;
// AddMember waits for that, 15 seconds at most.
//
// To replace a member whose machine is lost, remove it first, then add the new one:
// the other way round, the cluster needs one more to agree than it has.
func (s *Server) AddMember(ctx context.Context, name, peerAddr string) (join []string, err error) {
	if s.member == nil {
		return nil, ErrExternalEtcd
	}
	join, err = s.member.AddMember(ctx, name, peerAddr)
	return join, memberError(err)
}

// PromoteMember gives a learner its vote, which members that run see to themselves. It
// returns rpctypes.ErrMemberLearnerNotReady while the learner lacks data.
func (s *Server) PromoteMember(ctx context.Context, name string) error {
	if s.member == nil {
		return ErrExternalEtcd
	}
	return memberError(s.member.PromoteMember(ctx, name))
}

// RemoveMember removes a member for good, by its name, or by its PeerAddr, which is
// all that one has that never started. It is refused where too few others are up to
// go on without it. A control plane whose member is removed ends by itself, with
// etcd.ErrRemoved.
func (s *Server) RemoveMember(ctx context.Context, name string) error {
	if s.member == nil {
		return ErrExternalEtcd
	}
	return memberError(s.member.RemoveMember(ctx, name))
}

func memberError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("controlplane: %w", etcdError(err))
}
