// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// ErrExternalEtcd is returned by methods for members in this process if etcd is external.
var ErrExternalEtcd = fieldpath.Errorf("controlplane: not supported with external etcd (%s): use etcdctl", fieldpath.Name("Config.Etcd.Endpoints"))

// Members lists the members of this member's cluster by name. Like AddMember,
// PromoteMember and RemoveMember it needs more than half of them. These methods return
// etcd.ErrStandalone for a standalone member, and ErrExternalEtcd with an external etcd.
func (s *Server) Members(ctx context.Context) ([]etcd.ClusterMember, error) {
	if s.member == nil {
		return nil, ErrExternalEtcd
	}
	members, err := s.member.Members(ctx)
	return members, memberError(err)
}

// AddMember adds a member to the cluster, and returns the Config.Etcd.Join to start it
// with. The member joins as a learner without a vote, so that the cluster does not wait
// for it, and promotes itself when it has all data. A cluster has one learner at a time.
// The leader accepts it after it has seen all members for five seconds. AddMember waits
// for that, at most 15 seconds.
//
// To replace a member whose machine is lost, remove it before you add the new one.
// Otherwise the cluster needs one vote more than it has.
func (s *Server) AddMember(ctx context.Context, name, peerAddr string) (join []string, err error) {
	if s.member == nil {
		return nil, ErrExternalEtcd
	}
	join, err = s.member.AddMember(ctx, name, peerAddr)
	return join, memberError(err)
}

// PromoteMember gives a learner its vote. A running learner promotes itself. It returns
// rpctypes.ErrMemberLearnerNotReady while the learner lacks data.
func (s *Server) PromoteMember(ctx context.Context, name string) error {
	if s.member == nil {
		return ErrExternalEtcd
	}
	return memberError(s.member.PromoteMember(ctx, name))
}

// RemoveMember removes a member permanently, by its name or its PeerAddr. A member that
// has never started has only a PeerAddr. It fails if too few other members run to
// continue without it. The control plane of a removed member stops with etcd.ErrRemoved.
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
