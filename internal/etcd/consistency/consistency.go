// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package consistency compares the data of the members of a cluster, so that a member
// whose data differs from the majority does not serve it.
package consistency

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/etcd/peers"
	"github.com/kubembed/kubembed/internal/etcd/upkeep"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Members of a cluster have the same data, but raft does not notice if the file of a
// member is damaged, or changed while the member is stopped. The member would serve its
// objects, to all clients when it leads, under the resource versions of others.
//
// So a member that restarts compares its data with the other members, by etcd's own hash,
// before it serves clients. etcd's InitialCorruptCheck compares before the member has
// caught up, when the hashes can seldom be compared, and also refuses a good member
// because of one bad one. While members run, the leader compares the hashes of their
// compactions (CompactHashCheck), and raises an alarm, see WatchAlarms.

// StartTimeout is how long a member that restarts waits until hashes can be compared:
// until it has caught up, or a majority has answered. Tests change it.
var StartTimeout = 10 * time.Second

const (
	// hashTimeout bounds one hash, which reads the whole database.
	hashTimeout   = 30 * time.Second
	agreeInterval = 100 * time.Millisecond
	// alarmInterval is how often a member looks for alarms.
	alarmInterval = time.Second
)

// verdict is the result of a comparison with the other members.
type verdict struct {
	own       mvcc.KeyValueHash
	members   int
	same      []string // PeerAddr of the members with the same data, including this one
	different map[uint32][]*membership.Member
	unknown   []string // no answer, or no comparable hash
}

func (v verdict) quorum() int { return v.members/2 + 1 }

// outvoted reports whether a majority agrees on other data.
func (v verdict) outvoted() bool {
	for _, others := range v.different {
		if len(others) >= v.quorum() {
			return true
		}
	}
	return false
}

func (v verdict) differing() (addresses []string) {
	for _, others := range v.different {
		for _, member := range others {
			addresses = append(addresses, memberaddr.HostPort(member.PeerURLs[0]))
		}
	}
	slices.Sort(addresses)
	return addresses
}

// add adds the answer of another member.
func (v *verdict) add(member *membership.Member, hash *pb.HashKVResponse, err error) {
	address := memberaddr.HostPort(member.PeerURLs[0])
	switch {
	case err != nil || hash.CompactRevision != v.own.CompactRevision:
		v.unknown = append(v.unknown, address)
	case hash.Hash == v.own.Hash:
		v.same = append(v.same, address)
	default:
		v.different[hash.Hash] = append(v.different[hash.Hash], member)
	}
}

// Checker compares the data of a member with the other members of its cluster.
type Checker struct {
	Server  *etcdserver.EtcdServer
	Cluster *clusterconfig.Cluster
	Dir     string // the data directory
	Contain *contain.Containment
	Upkeep  *upkeep.Upkeep
	Log     *zap.Logger
	// Closing is closed when the member begins to close, and Done when it has stopped.
	// Err then returns the reason.
	Closing, Done <-chan struct{}
	Err           func() error
}

// CheckStart returns errdefs.ErrCorrupt if the data of the member differs from the
// others. If the data cannot be compared within StartTimeout, because the member has much
// to catch up, the start continues: the leader compares again at the next compaction.
func (m *Checker) CheckStart(ctx context.Context, p *peers.Client) error {
	client := &http.Client{Transport: p.Transport()} // without its timeout
	poll := time.NewTicker(agreeInterval)
	defer poll.Stop()
	end := time.Now().Add(StartTimeout)
	for {
		v, err := m.compare(ctx, client)
		if err != nil {
			return err
		}
		differing := v.differing()
		switch timedOut := time.Now().After(end); {
		case v.outvoted():
			return m.differs("%s, which agree with each other: remove this member with RemoveMember, empty its directory, and let it join again", differing)
		case len(v.same) >= v.quorum():
			if len(differing) > 0 {
				m.Log.Error("the data of other members differs from the majority: remove them, and let them join again", zap.Strings("members", differing))
			}
			return nil
		case timedOut && len(differing) > 0:
			return m.differs("%s, and too few members answer to find the majority: start all of them", differing)
		case timedOut:
			if len(v.unknown) > 0 {
				m.Log.Warn("data not compared with a majority of the members", zap.Strings("unknown", v.unknown))
			}
			return nil
		case len(differing) == 0 && !m.behind(v):
			return nil // the others do not answer, and compare when they start
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.Done:
			return m.Err()
		}
	}
}

// behind reports whether waiting may make hashes comparable.
func (m *Checker) behind(v verdict) bool {
	return len(v.unknown) > 0 && v.members-len(v.unknown) < v.quorum()
}

func (m *Checker) differs(format string, others []string) error {
	return fieldpath.New("", "Config.Dir", "%s: %w: its data differs from "+format, m.Dir, errdefs.ErrCorrupt, strings.Join(others, ", "))
}

// compare asks all other voting members for the hash of their data at this member's
// revision.
func (m *Checker) compare(ctx context.Context, client *http.Client) (v verdict, err error) {
	s := m.Server
	if err := m.Contain.Run(func() (err error) {
		v.own, _, err = s.KV().HashStorage().HashByRev(0)
		return err
	}); err != nil {
		return v, fmt.Errorf("comparing data: %w", err)
	}
	v.same, v.different = []string{m.Cluster.PeerAddr}, map[uint32][]*membership.Member{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, member := range s.Cluster().Members() {
		if member.IsLearner {
			continue
		}
		v.members++
		if member.ID == s.MemberID() || len(member.PeerURLs) == 0 {
			continue
		}
		all.Go(func() {
			hash, err := hashOf(ctx, s, client, member, v.own)
			mu.Lock()
			defer mu.Unlock()
			v.add(member, hash, err)
		})
	}
	all.Wait()
	return v, ctx.Err()
}

// hashOf asks another member for its hash at the revision of own.
func hashOf(ctx context.Context, s *etcdserver.EtcdServer, client *http.Client, member *membership.Member, own mvcc.KeyValueHash) (*pb.HashKVResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, hashTimeout)
	defer cancel()
	hash, err := etcdserver.HashByRev(ctx, s.Cluster().ID(), client, member.PeerURLs[0], own.Revision)
	if err != nil || hash.CompactRevision == own.CompactRevision {
		return hash, err
	}
	// If nothing was written since a compaction at the last revision, etcd answers with
	// the hash before the compaction. Revision 0 asks for the current hash.
	now, err := etcdserver.HashByRev(ctx, s.Cluster().ID(), client, member.PeerURLs[0], 0)
	if err != nil || now.HashRevision != own.Revision {
		return hash, err
	}
	return now, nil
}
