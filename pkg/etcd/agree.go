package etcd

import (
	"context"
	"errors"
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
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Members of a cluster have the same data, but nothing in raft notices when the file of
// one is changed while it is stopped, or damaged. Its objects would be served, to
// everybody when it leads, under the resource versions of others.
//
// So a member that comes back compares its data with those of the others, by etcd's own
// hash, before it serves clients. etcd's InitialCorruptCheck does so before the member
// has caught up, when the hashes can seldom be compared, and also keeps out a good member
// because of one bad other. While members run the leader compares the hashes of their
// compactions (CompactHashCheck), and raises an alarm, see watchAlarms.

// agreeTimeout is how long a member that comes back waits until hashes can be compared:
// until it has caught up, or a majority has answered.
var agreeTimeout = 10 * time.Second

const (
	// hashTimeout bounds one hash. It reads all of the database.
	hashTimeout   = 30 * time.Second
	agreeInterval = 100 * time.Millisecond
)

// verdict is how a member compares with the others.
type verdict struct {
	own       mvcc.KeyValueHash
	members   int
	same      []string // PeerAddr of those with the same data, this one among them
	different map[uint32][]*membership.Member
	unknown   []string // no answer, or one that cannot be compared
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

// add adds what another member has answered.
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

// agree returns ErrCorrupt where the member has other data than the others. Where those
// cannot be compared within agreeTimeout, which a member that has missed much may need
// to catch up, the member goes on: the leader compares again at the next compaction.
func (m *Member) agree(ctx context.Context, c *Cluster, p *peers, lg *zap.Logger) error {
	client := &http.Client{Transport: p.http.Transport} // without its timeout
	poll := time.NewTicker(agreeInterval)
	defer poll.Stop()
	end := time.Now().Add(agreeTimeout)
	for {
		v, err := m.compare(ctx, c, client)
		if err != nil {
			return err
		}
		differing := v.differing()
		switch late := time.Now().After(end); {
		case v.outvoted():
			return m.differs("those of %s, which agree with each other: remove this member with RemoveMember, empty its directory, and let it join again", differing)
		case len(v.same) >= v.quorum():
			if len(differing) > 0 {
				lg.Error("other members have other data than the majority: remove them, and let them join again", zap.Strings("members", differing))
			}
			return nil
		case late && len(differing) > 0:
			return m.differs("those of %s, and too few members answer to tell who is right: start all of them", differing)
		case late:
			if len(v.unknown) > 0 {
				lg.Warn("the data cannot be compared with those of a majority of the members", zap.Strings("unknown", v.unknown))
			}
			return nil
		case len(differing) == 0 && !m.behind(v):
			return nil // the others do not answer, and compare when they come
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.done:
			return m.err
		}
	}
}

// behind reports whether it is worth a wait that hashes can be compared.
func (m *Member) behind(v verdict) bool {
	return len(v.unknown) > 0 && v.members-len(v.unknown) < v.quorum()
}

func (m *Member) differs(format string, others []string) error {
	return fieldpath.New("etcd", "Config.Dir", "%s: %w: its data differ from "+format, m.directory.Dir, ErrCorrupt, strings.Join(others, ", "))
}

// compare asks all other members that vote for the hash of their data at this one's revision.
func (m *Member) compare(ctx context.Context, c *Cluster, client *http.Client) (v verdict, err error) {
	s := m.etcd.Server
	if err := m.contain.Run(func() (err error) {
		v.own, _, err = s.KV().HashStorage().HashByRev(0)
		return err
	}); err != nil {
		return v, fmt.Errorf("comparing data: %w", err)
	}
	v.same, v.different = []string{c.PeerAddr}, map[uint32][]*membership.Member{}
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
	// Where nothing was written since a compaction at the last revision, etcd answers with
	// what was the hash before it. Revision 0 asks for the one of now.
	now, err := etcdserver.HashByRev(ctx, s.Cluster().ID(), client, member.PeerURLs[0], 0)
	if err != nil || now.HashRevision != own.Revision {
		return hash, err
	}
	return now, nil
}

// watchAlarms ends a member that the leader has found to have other data than the
// majority. The leader takes the alarm back when the member has ended or been removed,
// so that the others, who are refused writes meanwhile, go on.
func (m *Member) watchAlarms(c *Cluster, lg *zap.Logger) {
	p, err := newPeers(c)
	if err != nil {
		lg.Error("alarms are not watched", zap.Error(err)) // certificates that have just been read
		return
	}
	defer p.close()
	tick := time.NewTicker(alarmInterval)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-m.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	s := m.etcd.Server
	found := finder{Member: m, cluster: c, peers: p, client: &http.Client{Transport: p.http.Transport}} // without its timeout
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.done:
			return
		case <-tick.C:
		}
		if alarmed(s, pb.AlarmType_CORRUPT, uint64(s.MemberID())) {
			m.contain.Fail(fmt.Errorf("%w: the other members agree on other data: remove this member with RemoveMember, empty %s, and let it join again", ErrCorrupt, m.directory.Dir))
			return
		}
		if s.Leader() == s.MemberID() {
			found.whoIsWrong(ctx, lg)
			m.disarm(ctx, p, lg)
		}
	}
}

// disarm takes back alarms about members that no longer serve.
func (m *Member) disarm(ctx context.Context, p *peers, lg *zap.Logger) {
	s := m.etcd.Server
	members := s.Cluster().Members()
	for _, alarm := range s.Alarms() {
		if alarm.Alarm != pb.AlarmType_CORRUPT {
			continue
		}
		i := slices.IndexFunc(members, func(member *membership.Member) bool { return uint64(member.ID) == alarm.MemberID })
		switch {
		case alarm.MemberID == 0:
			continue // of whoIsWrong
		case i >= 0 && len(members[i].PeerURLs) > 0 && p.askOne(ctx, memberaddr.HostPort(members[i].PeerURLs[0])).err == nil:
			continue
		case ctx.Err() != nil:
			return
		}
		err := m.alarm(ctx, pb.AlarmRequest_DEACTIVATE, alarm.MemberID)
		lg.Warn("the member with other data has ended; the others go on", zap.Uint64("member", alarm.MemberID), zap.Error(err))
	}
}

// alarm raises the alarm that a member has other data, or takes it back.
func (m *Member) alarm(ctx context.Context, action pb.AlarmRequest_AlarmAction, id uint64) error {
	return m.upkeep.call(ctx, func(ctx context.Context) error {
		_, err := m.etcd.Server.Alarm(ctx, &pb.AlarmRequest{MemberID: id, Action: action, Alarm: pb.AlarmType_CORRUPT})
		return err
	})
}

// finder finds out for the leader which member an alarm about nobody is meant for.
//
// The leader of etcd compares the hashes that it can get. If one member differs, and
// another is down or has not finished its compaction, no majority agrees, and the alarm
// is about the member 0. All members refuse writes then, and etcd never looks again.
type finder struct {
	*Member
	cluster *Cluster
	peers   *peers
	client  *http.Client
	next    time.Time // of a comparison, which reads all data of all members
	said    string    // the last outcome that was logged
}

// whoIsWrong replaces an alarm about nobody by one about each member that differs from
// a majority. Without a majority the alarm stays, and while a member runs that cannot be
// compared, which may be the one that differs.
func (f *finder) whoIsWrong(ctx context.Context, lg *zap.Logger) {
	begin := time.Now()
	if begin.Before(f.next) {
		return
	}
	if !slices.ContainsFunc(f.etcd.Server.Alarms(), func(a *pb.AlarmMember) bool {
		return a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == 0
	}) {
		f.said = ""
		return
	}
	v, err := f.compare(ctx, f.cluster, f.client)
	f.next = time.Now().Add(10 * time.Since(begin))
	switch differing := v.differing(); {
	case ctx.Err() != nil:
	case err != nil:
		f.say(lg, "members have different data, and cannot be compared", zap.Error(err))
	case v.outvoted():
		// The next leader takes back the alarm about nobody.
		lg.Error("this member, the leader, has other data than the majority", zap.Strings("majority", differing))
		if err := f.alarm(ctx, pb.AlarmRequest_ACTIVATE, uint64(f.etcd.Server.MemberID())); err != nil {
			lg.Error("the alarm about this member was not raised", zap.Error(err))
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
		f.say(lg, "a majority of the members agrees; the others have different data, or cannot be compared",
			zap.Strings("different", v.differing()), zap.Strings("not compared", running), zap.Error(err))
	default:
		slices.Sort(v.unknown)
		f.say(lg, "members have different data, and too few answer to tell who is right: writes are refused until a majority of the members agrees",
			zap.Strings("different", differing), zap.Strings("unknown", v.unknown))
	}
}

// say logs an outcome that is not the last one: small data are compared once a second.
func (f *finder) say(lg *zap.Logger, message string, fields ...zap.Field) {
	said := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(said)
	}
	if outcome := fmt.Sprint(message, said.Fields); outcome != f.said {
		f.said = outcome
		lg.Error(message, fields...)
	}
}

// addLearners compares the members without a vote. etcd compares them, too.
func (f *finder) addLearners(ctx context.Context, v *verdict) {
	s := f.etcd.Server
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
	for _, answer := range f.peers.ask(ctx, addresses) {
		if answer.err == nil {
			running = append(running, answer.address)
		}
	}
	return running
}
