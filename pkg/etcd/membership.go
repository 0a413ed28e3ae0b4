// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/etcd/peers"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// ClusterMember describes a member of a cluster.
type ClusterMember struct {
	ID uint64
	// Name is empty until the member has been started for the first time.
	Name string
	// PeerAddr and ClientAddr are its addresses. ClientAddr is empty as long as Name.
	PeerAddr, ClientAddr string
	// Learner says that the member has no vote yet.
	Learner bool
	// Leader says that it is the leader, as far as this member knows.
	Leader bool
}

// ErrStandalone is returned by operations that need a member of a cluster.
var ErrStandalone = errors.New("this member is standalone, and no member of a cluster")

// Members lists the members of the cluster as the leader knows them, sorted by name.
func (m *Member) Members(ctx context.Context) ([]ClusterMember, error) {
	if m.network == nil {
		return nil, fieldpath.New("etcd", "", "%w: see %s", ErrStandalone, fieldpath.Name("Config.Cluster"))
	}
	response, err := m.client.MemberList(ctx)
	if err != nil {
		return nil, fieldpath.New("etcd", "", "list members: %w", err)
	}
	var members []ClusterMember
	leader := uint64(m.etcd.Server.Leader())
	for _, member := range response.Members {
		members = append(members, clusterMember(member, leader))
	}
	slices.SortFunc(members, func(a, b ClusterMember) int {
		if a.Name != b.Name {
			return slices.Compare([]string{a.Name}, []string{b.Name})
		}
		return slices.Compare([]uint64{a.ID}, []uint64{b.ID})
	})
	return members, nil
}

func clusterMember(m *pb.Member, leader uint64) ClusterMember {
	c := ClusterMember{ID: m.ID, Name: m.Name, Learner: m.IsLearner, Leader: m.ID == leader}
	if len(m.PeerURLs) > 0 {
		c.PeerAddr = memberaddr.HostPort(m.PeerURLs[0])
	}
	if len(m.ClientURLs) > 0 {
		c.ClientAddr = memberaddr.HostPort(m.ClientURLs[0])
	}
	return c
}

// AddMember adds a member to the cluster as a learner and returns the Cluster.Join for
// it. The member gets its vote when it is promoted, which it does by itself. A cluster
// has one learner at a time. The name of another member is an error; the cluster learns
// the new name when the member starts.
func (m *Member) AddMember(ctx context.Context, name, peerAddr string) (join []string, err error) {
	members, err := m.Members(ctx)
	if err != nil {
		return nil, err
	}
	added := &Cluster{Name: name, PeerAddr: peerAddr, Join: []string{peerAddr}}
	if errs := added.config().Validate(nil); len(errs) > 0 {
		return nil, fieldpath.New("etcd", "", "add member: %w", errs.ToAggregate())
	}
	for _, member := range members {
		if member.Name == name {
			return nil, fieldpath.New("etcd", "", "add member: %q is the name of the member at %s: remove that member first, or choose another name", name, member.PeerAddr)
		}
		if member.Name != "" {
			join = append(join, member.PeerAddr)
		}
	}
	u := memberaddr.PeerURL(peerAddr)
	if err := retry(ctx, func() error {
		_, err := m.client.MemberAddAsLearner(ctx, []string{u.String()})
		return err
	}); err != nil {
		return nil, fieldpath.New("etcd", "", "add member %q: %w", name, err)
	}
	return join, nil
}

// PromoteMember gives a learner its vote. A learner that lags behind is refused with
// rpctypes.ErrMemberLearnerNotReady. Running members promote themselves.
func (m *Member) PromoteMember(ctx context.Context, name string) error {
	member, err := m.find(ctx, name)
	if err != nil {
		return err
	}
	if !member.Learner {
		return nil
	}
	if _, err := m.client.MemberPromote(ctx, member.ID); err != nil {
		return fieldpath.New("etcd", "", "promote member %q: %w", name, err)
	}
	return nil
}

// RemoveMember removes a member by its name or its PeerAddr; a member that has never
// started has only the latter. It is refused if too few of the other members run to
// continue without it. A running member stops by itself, with ErrRemoved.
func (m *Member) RemoveMember(ctx context.Context, name string) error {
	member, err := m.find(ctx, name)
	if err != nil {
		return err
	}
	if err := retry(ctx, func() error {
		_, err := m.client.MemberRemove(ctx, member.ID)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil // removed by an attempt without a response
		}
		return err
	}); err != nil {
		return fieldpath.New("etcd", "", "remove member %q: %w", name, err)
	}
	return nil
}

func (m *Member) find(ctx context.Context, name string) (ClusterMember, error) {
	members, err := m.Members(ctx)
	if err != nil {
		return ClusterMember{}, err
	}
	for _, member := range members {
		if name != "" && (member.Name == name || member.PeerAddr == name) {
			return member, nil
		}
	}
	return ClusterMember{}, fieldpath.New("etcd", "", "%w: no member has the name or PeerAddr %q", rpctypes.ErrMemberNotFound, name)
}

// membershipTimeout is how long a change of members waits until the cluster accepts one:
// the leader must have been connected to all others for five seconds.
const membershipTimeout = 15 * time.Second

func retry(ctx context.Context, change func() error) error {
	var err error
	_ = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, membershipTimeout, true, func(context.Context) (bool, error) {
		err = change()
		return !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted), nil
	})
	return err
}

// promoteInterval is how often a learner asks for its vote.
const promoteInterval = 250 * time.Millisecond

// promoteSelf asks for a vote until the member has one.
func (m *Member) promoteSelf() {
	s := m.etcd.Server
	_ = wait.PollUntilContextCancel(wait.ContextForChannel(m.closing), promoteInterval, true, func(ctx context.Context) (bool, error) {
		if m.Err() != nil || !s.IsMemberExist(s.MemberID()) || !s.IsLearner() {
			return true, nil
		}
		ctx, cancel := context.WithTimeout(ctx, peers.Timeout)
		defer cancel()
		_, _ = m.client.MemberPromote(ctx, uint64(s.MemberID()))
		return false, nil
	})
}
