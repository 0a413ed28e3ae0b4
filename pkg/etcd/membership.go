package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// ClusterMember is what a cluster knows of one of its members.
type ClusterMember struct {
	ID uint64
	// Name is empty until the member has been started for the first time.
	Name string
	// PeerAddr and ClientAddr are its addresses; the latter is empty like Name.
	PeerAddr, ClientAddr string
	// Learner says that the member has no vote yet.
	Learner bool
	// Leader says that it leads, as far as the member that was asked knows.
	Leader bool
}

// ErrStandalone is returned where only a member of a cluster can do what was asked for.
var ErrStandalone = errors.New("this member is standalone, and no member of a cluster")

// Members lists the members of the cluster, as the leader knows them, by name.
func (m *Member) Members(ctx context.Context) ([]ClusterMember, error) {
	if m.network == nil {
		return nil, fieldpath.New("etcd", "", "%w: see %s", ErrStandalone, fieldpath.Name("Config.Cluster"))
	}
	response, err := m.client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("etcd: list members: %w", err)
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

// AddMember tells the cluster of a member that is going to join it, as a learner, and
// returns its Cluster.Join. It then counts as soon as it is promoted, which it sees to
// by itself. There is one learner at a time. A name that another member has is an
// error; the new one's becomes known when it is started.
func (m *Member) AddMember(ctx context.Context, name, peerAddr string) (join []string, err error) {
	members, err := m.Members(ctx)
	if err != nil {
		return nil, err
	}
	added := &Cluster{Name: name, PeerAddr: peerAddr, Join: []string{peerAddr}}
	if errs := added.ValidateFields(nil); len(errs) > 0 {
		return nil, fmt.Errorf("etcd: add member: %w", errs.ToAggregate())
	}
	for _, member := range members {
		if member.Name == name {
			return nil, fmt.Errorf("etcd: add member: %q is the name of the member at %s: remove that one first, or choose another name", name, member.PeerAddr)
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
		return nil, fmt.Errorf("etcd: add member %q: %w", name, err)
	}
	return join, nil
}

// PromoteMember gives a learner its vote. A learner that lacks data is refused with
// rpctypes.ErrMemberLearnerNotReady. Members that are started promote themselves.
func (m *Member) PromoteMember(ctx context.Context, name string) error {
	member, err := m.find(ctx, name)
	if err != nil {
		return err
	}
	if !member.Learner {
		return nil
	}
	if _, err := m.client.MemberPromote(ctx, member.ID); err != nil {
		return fmt.Errorf("etcd: promote member %q: %w", name, err)
	}
	return nil
}

// RemoveMember removes a member, by its name or its PeerAddr, which those that have
// not been started have only. It is refused where too few of the others are up to go
// on without it. If the member runs, it stops by itself, with ErrRemoved.
func (m *Member) RemoveMember(ctx context.Context, name string) error {
	member, err := m.find(ctx, name)
	if err != nil {
		return err
	}
	if err := retry(ctx, func() error {
		_, err := m.client.MemberRemove(ctx, member.ID)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil // by a try that got no answer
		}
		return err
	}); err != nil {
		return fmt.Errorf("etcd: remove member %q: %w", name, err)
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
	return ClusterMember{}, fmt.Errorf("etcd: %w: no member has the name or PeerAddr %q", rpctypes.ErrMemberNotFound, name)
}

// settleTimeout is how long a change of members waits until the cluster takes one: a
// leader wants to have seen all others for five seconds.
const settleTimeout = 15 * time.Second

func retry(ctx context.Context, change func() error) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		err := change()
		if !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-poll.C:
		}
	}
}

// promoteInterval is how often a learner asks for its vote.
const promoteInterval = 250 * time.Millisecond

// promoteSelf asks for a vote until the member has one.
func (m *Member) promoteSelf() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := m.etcd.Server
	poll := time.NewTicker(promoteInterval)
	defer poll.Stop()
	for s.IsMemberExist(s.MemberID()) && s.IsLearner() {
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			ctx, cancel := context.WithTimeout(ctx, peerTimeout)
			defer cancel()
			_, _ = m.client.MemberPromote(ctx, uint64(s.MemberID()))
		}()
		select {
		case <-m.closing:
			cancel()
			<-asked
			return
		case <-asked:
		}
		select {
		case <-m.closing:
			return
		case <-m.done:
			return
		case <-poll.C:
		}
	}
}
