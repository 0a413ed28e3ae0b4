// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package consistency

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/etcd/peers"
	"github.com/kubembed/kubembed/internal/etcd/upkeep"
)

// WatchAlarms ends the member when the leader has found that its data differs from the
// majority. The leader clears the alarm when that member has ended or been removed, so
// that the others, which refuse writes meanwhile, continue.
func (m *Checker) WatchAlarms() {
	p, err := peers.New(m.Cluster)
	if err != nil {
		m.Log.Error("alarms not watched", zap.Error(err)) // certificates that have just been read
		return
	}
	defer p.Close()
	tick := time.NewTicker(alarmInterval)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-m.Closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	s := m.Server
	resolver := resolver{Checker: m, peers: p, client: &http.Client{Transport: p.Transport()}} // without its timeout
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.Done:
			return
		case <-tick.C:
		}
		if upkeep.Alarmed(s, pb.AlarmType_CORRUPT, uint64(s.MemberID())) {
			m.Contain.Fail(fmt.Errorf("%w: the data differs from the majority: remove this member with RemoveMember, empty %s, and let it join again", errdefs.ErrCorrupt, m.Dir))
			return
		}
		if s.Leader() == s.MemberID() {
			resolver.resolve(ctx)
			m.disarm(ctx, p)
		}
	}
}

// disarm clears alarms about members that no longer serve.
func (m *Checker) disarm(ctx context.Context, p *peers.Client) {
	s := m.Server
	members := s.Cluster().Members()
	for _, alarm := range s.Alarms() {
		if alarm.Alarm != pb.AlarmType_CORRUPT {
			continue
		}
		i := slices.IndexFunc(members, func(member *membership.Member) bool { return uint64(member.ID) == alarm.MemberID })
		switch {
		case alarm.MemberID == 0:
			continue // of resolve
		case i >= 0 && len(members[i].PeerURLs) > 0 && p.AskOne(ctx, memberaddr.HostPort(members[i].PeerURLs[0])).Err == nil:
			continue
		case ctx.Err() != nil:
			return
		}
		err := m.alarm(ctx, pb.AlarmRequest_DEACTIVATE, alarm.MemberID)
		m.Log.Warn("the member with different data has ended; the others continue", zap.Uint64("member", alarm.MemberID), zap.Error(err))
	}
}

// RaiseAlarm raises the alarm that the data of a member differs. ID 0 means an unknown
// member.
func (m *Checker) RaiseAlarm(ctx context.Context, id uint64) error {
	return m.alarm(ctx, pb.AlarmRequest_ACTIVATE, id)
}

// alarm raises or clears the alarm that the data of a member differs.
func (m *Checker) alarm(ctx context.Context, action pb.AlarmRequest_AlarmAction, id uint64) error {
	return m.Upkeep.Call(ctx, func(ctx context.Context) error {
		_, err := m.Server.Alarm(ctx, &pb.AlarmRequest{MemberID: id, Action: action, Alarm: pb.AlarmType_CORRUPT})
		return err
	})
}

// resolver finds for the leader the member that an alarm about member 0 is meant for.
//
// etcd's leader compares the hashes that it can get. If one member differs, and another
// is down or has not finished its compaction, no majority agrees, and the alarm is about
// member 0. All members then refuse writes, and etcd does not compare again.
type resolver struct {
	*Checker
	peers  *peers.Client
	client *http.Client
	next   time.Time // of the next comparison, which reads all data of all members
	logged string    // the last outcome
}

// resolve replaces an alarm about member 0 by one about each member that differs from a
// majority. The alarm stays while there is no majority, and while a running member cannot
// be compared, because that one may differ.
func (f *resolver) resolve(ctx context.Context) {
	begin := time.Now()
	if begin.Before(f.next) {
		return
	}
	if !slices.ContainsFunc(f.Server.Alarms(), func(a *pb.AlarmMember) bool {
		return a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == 0
	}) {
		f.logged = ""
		return
	}
	v, err := f.compare(ctx, f.client)
	f.next = time.Now().Add(10 * time.Since(begin))
	switch differing := v.differing(); {
	case ctx.Err() != nil:
	case err != nil:
		f.log("members have different data, and comparing them failed", zap.Error(err))
	case v.outvoted():
		// The next leader clears the alarm about member 0.
		f.Log.Error("the data of this member, the leader, differs from the majority", zap.Strings("majority", differing))
		if err := f.alarm(ctx, pb.AlarmRequest_ACTIVATE, uint64(f.Server.MemberID())); err != nil {
			f.Log.Error("alarm about this member not raised", zap.Error(err))
		}
	case len(v.same) >= v.quorum():
		f.addLearners(ctx, &v)
		var errs []error
		for _, members := range v.different {
			for _, member := range members {
				errs = append(errs, f.alarm(ctx, pb.AlarmRequest_ACTIVATE, uint64(member.ID)))
			}
		}
		err := errors.Join(errs...)
		running := f.running(ctx, v.unknown)
		if err == nil && len(running) == 0 {
			err = f.alarm(ctx, pb.AlarmRequest_DEACTIVATE, 0)
		}
		f.log("a majority of the members agrees; the others have different data, or cannot be compared",
			zap.Strings("different", v.differing()), zap.Strings("not compared", running), zap.Error(err))
	default:
		slices.Sort(v.unknown)
		f.log("members have different data, and too few answer to find the majority: writes are refused until a majority of the members agrees",
			zap.Strings("different", differing), zap.Strings("unknown", v.unknown))
	}
}

// log logs an outcome that differs from the last one: small data is compared once a
// second.
func (f *resolver) log(message string, fields ...zap.Field) {
	encoded := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(encoded)
	}
	if outcome := fmt.Sprint(message, encoded.Fields); outcome != f.logged {
		f.logged = outcome
		f.Log.Error(message, fields...)
	}
}

// addLearners compares the learners. etcd compares them too.
func (f *resolver) addLearners(ctx context.Context, v *verdict) {
	s := f.Server
	for _, member := range s.Cluster().Members() {
		if member.IsLearner && len(member.PeerURLs) > 0 {
			hash, err := hashOf(ctx, s, f.client, member, v.own)
			v.add(member, hash, err)
		}
	}
}

// running returns the addresses at which a member answers. Stopped members compare their
// data when they start.
func (f *resolver) running(ctx context.Context, addresses []string) (running []string) {
	for _, answer := range f.peers.Ask(ctx, addresses) {
		if answer.Err == nil {
			running = append(running, answer.Address)
		}
	}
	return running
}
