// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package memberwatch logs members of a cluster that are added, removed, or do not
// answer.
package memberwatch

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/etcd/peers"
)

// Interval is how often a member checks which members the cluster has and which answer.
// etcd's own log is about streams, probes and terms. It is a variable for tests.
var Interval = 5 * time.Second

// Grace is how long a member may take to answer for the first time: members start one
// after the other. It is a variable for tests.
var Grace = time.Minute

// memberWatch logs the changes in a cluster since the last check.
type memberWatch struct {
	lg       *zap.Logger
	known    map[uint64]*membership.Member // nil before the first check
	first    map[uint64]time.Time          // when it was first seen, until it has answered
	silent   map[uint64]time.Time          // since when it does not answer
	headless time.Time                     // since when there is no leader
}

// Run logs members that are added, removed, or do not answer, until the member closes.
func Run(s *etcdserver.EtcdServer, c *clusterconfig.Cluster, closing, done <-chan struct{}, lg *zap.Logger) {
	p, err := peers.New(c)
	if err != nil {
		lg.Error("other members not watched", zap.Error(err)) // certificates that have just been read
		return
	}
	defer p.Close()
	w := memberWatch{lg: lg, first: map[uint64]time.Time{}, silent: map[uint64]time.Time{}}
	_ = wait.PollUntilContextCancel(wait.ContextForChannel(closing), Interval, true, func(ctx context.Context) (bool, error) {
		select {
		case <-done:
			return true, nil
		default:
		}
		members := slices.DeleteFunc(slices.Clone(s.Cluster().Members()), func(member *membership.Member) bool { return member.ID == s.MemberID() })
		w.lead(uint64(s.Leader()))
		w.changed(members)
		// The answers are incomplete once ctx has ended.
		if errs := askMembers(ctx, p, members); ctx.Err() == nil {
			w.answered(members, errs)
		}
		return false, nil
	})
}

// askMembers returns an error for each member that does not answer, and nil for each that
// does.
func askMembers(ctx context.Context, p *peers.Client, members []*membership.Member) []error {
	addresses := make([]string, len(members))
	for i, member := range members {
		if len(member.PeerURLs) > 0 {
			addresses[i] = memberaddr.HostPort(member.PeerURLs[0])
		}
	}
	errs := make([]error, len(members))
	for i, answer := range p.Ask(ctx, addresses) {
		errs[i] = answer.Err
	}
	return errs
}

// lead logs changes of leader, which is zero if there is none.
func (w *memberWatch) lead(leader uint64) {
	switch {
	case leader == 0 && w.headless.IsZero():
		w.headless = time.Now()
		w.lg.Warn("the cluster has no leader and writes wait: more than half of its members must run and reach each other")
	case leader != 0 && !w.headless.IsZero():
		w.lg.Info("the cluster has a leader again", zap.Duration("after", time.Since(w.headless)))
		w.headless = time.Time{}
	}
}

// changed compares the other members with the last check.
func (w *memberWatch) changed(members []*membership.Member) {
	now := map[uint64]*membership.Member{}
	for _, member := range members {
		id := uint64(member.ID)
		now[id] = member
		if w.known[id] == nil {
			w.first[id] = time.Now()
		}
		if w.known != nil && w.known[id] == nil {
			w.lg.Info("a member was added to the cluster", describe(member)...)
		}
	}
	for id, member := range w.known {
		if now[id] == nil {
			w.lg.Info("a member was removed from the cluster", describe(member)...)
			delete(w.first, id)
			delete(w.silent, id)
		}
	}
	w.known = now
}

// answered logs changes of errs, which are nil for members that answer.
func (w *memberWatch) answered(members []*membership.Member, errs []error) {
	for i, member := range members {
		id := uint64(member.ID)
		since, silent := w.silent[id]
		first, unheard := w.first[id]
		switch {
		case errs[i] == nil && unheard:
			delete(w.first, id)
		case errs[i] != nil && unheard && time.Since(first) < Grace:
		case errs[i] != nil && !silent:
			delete(w.first, id)
			w.silent[id] = time.Now()
			w.lg.Warn("a member of the cluster does not answer", append(describe(member), zap.Error(errs[i]))...)
		case errs[i] == nil && silent:
			delete(w.silent, id)
			w.lg.Info("the member of the cluster answers again", append(describe(member), zap.Duration("after", time.Since(since)))...)
		}
	}
}

// describe returns the fields of a member. Its name is empty until its first start.
func describe(member *membership.Member) []zap.Field {
	fields := []zap.Field{zap.String("member", member.Name)}
	if len(member.PeerURLs) > 0 {
		fields = append(fields, zap.String("address", memberaddr.HostPort(member.PeerURLs[0])))
	}
	return fields
}
