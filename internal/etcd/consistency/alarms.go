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

// WatchAlarms ends a member that the leader has found to have other data than the
// majority. The leader takes the alarm back when the member has ended or been removed,
// so that the others, who are refused writes meanwhile, go on.
func (m *Checker) WatchAlarms() {
	p, err := peers.New(m.Cluster)
	if err != nil {
		m.Log.Error("alarms are not watched", zap.Error(err)) // certificates that have just been read
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
	found := finder{Checker: m, peers: p, client: &http.Client{Transport: p.Transport()}} // without its timeout
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.Done:
			return
		case <-tick.C:
		}
		if upkeep.Alarmed(s, pb.AlarmType_CORRUPT, uint64(s.MemberID())) {
			m.Contain.Fail(fmt.Errorf("%w: the other members agree on other data: remove this member with RemoveMember, empty %s, and let it join again", errdefs.ErrCorrupt, m.Dir))
			return
		}
		if s.Leader() == s.MemberID() {
			found.whoIsWrong(ctx)
			m.disarm(ctx, p)
		}
	}
}

// disarm takes back alarms about members that no longer serve.
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
			continue // of whoIsWrong
		case i >= 0 && len(members[i].PeerURLs) > 0 && p.AskOne(ctx, memberaddr.HostPort(members[i].PeerURLs[0])).Err == nil:
			continue
		case ctx.Err() != nil:
			return
		}
		err := m.alarm(ctx, pb.AlarmRequest_DEACTIVATE, alarm.MemberID)
		m.Log.Warn("the member with other data has ended; the others go on", zap.Uint64("member", alarm.MemberID), zap.Error(err))
	}
}

// RaiseAlarm raises the alarm that a member has other data; id 0 is about no member.
func (m *Checker) RaiseAlarm(ctx context.Context, id uint64) error {
	return m.alarm(ctx, pb.AlarmRequest_ACTIVATE, id)
}

// alarm raises the alarm that a member has other data, or takes it back.
func (m *Checker) alarm(ctx context.Context, action pb.AlarmRequest_AlarmAction, id uint64) error {
	return m.Upkeep.Call(ctx, func(ctx context.Context) error {
		_, err := m.Server.Alarm(ctx, &pb.AlarmRequest{MemberID: id, Action: action, Alarm: pb.AlarmType_CORRUPT})
		return err
	})
}

// finder finds out for the leader which member an alarm about nobody is meant for.
//
// The leader of etcd compares the hashes that it can get. If one member differs, and
// another is down or has not finished its compaction, no majority agrees, and the alarm
// is about the member 0. All members refuse writes then, and etcd never looks again.
type finder struct {
	*Checker
	peers  *peers.Client
	client *http.Client
	next   time.Time // of a comparison, which reads all data of all members
	said   string    // the last outcome that was logged
}

// whoIsWrong replaces an alarm about nobody by one about each member that differs from
// a majority. Without a majority the alarm stays, and while a member runs that cannot be
// compared, which may be the one that differs.
func (f *finder) whoIsWrong(ctx context.Context) {
	begin := time.Now()
	if begin.Before(f.next) {
		return
	}
	if !slices.ContainsFunc(f.Server.Alarms(), func(a *pb.AlarmMember) bool {
		return a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == 0
	}) {
		f.said = ""
		return
	}
	v, err := f.compare(ctx, f.client)
	f.next = time.Now().Add(10 * time.Since(begin))
	switch differing := v.differing(); {
	case ctx.Err() != nil:
	case err != nil:
		f.say("members have different data, and cannot be compared", zap.Error(err))
	case v.outvoted():
		// The next leader takes back the alarm about nobody.
		f.Log.Error("this member, the leader, has other data than the majority", zap.Strings("majority", differing))
		if err := f.alarm(ctx, pb.AlarmRequest_ACTIVATE, uint64(f.Server.MemberID())); err != nil {
			f.Log.Error("the alarm about this member was not raised", zap.Error(err))
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
		f.say("a majority of the members agrees; the others have different data, or cannot be compared",
			zap.Strings("different", v.differing()), zap.Strings("not compared", running), zap.Error(err))
	default:
		slices.Sort(v.unknown)
		f.say("members have different data, and too few answer to tell who is right: writes are refused until a majority of the members agrees",
			zap.Strings("different", differing), zap.Strings("unknown", v.unknown))
	}
}

// say logs an outcome that is not the last one: small data are compared once a second.
func (f *finder) say(message string, fields ...zap.Field) {
	said := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(said)
	}
	if outcome := fmt.Sprint(message, said.Fields); outcome != f.said {
		f.said = outcome
		f.Log.Error(message, fields...)
	}
}

// addLearners compares the members without a vote. etcd compares them, too.
func (f *finder) addLearners(ctx context.Context, v *verdict) {
	s := f.Server
	for _, member := range s.Cluster().Members() {
		if member.IsLearner && len(member.PeerURLs) > 0 {
			hash, err := hashOf(ctx, s, f.client, member, v.own)
			v.add(member, hash, err)
		}
	}
}

// running returns the addresses at which a member answers. The others compare their data
// when they start.
func (f *finder) running(ctx context.Context, addresses []string) (running []string) {
	for _, answer := range f.peers.Ask(ctx, addresses) {
		if answer.Err == nil {
			running = append(running, answer.Address)
		}
	}
	return running
}
