package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/diskguard"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// How often the member looks after its database. Under the alarm that the quota is
// used up, often: whoever deletes to make room waits for it.
const (
	upkeepInterval = 30 * time.Second
	alarmInterval  = time.Second
)

// When the quota's alarm is taken back, as parts of the quota: a database that is
// hardly below it would raise the next one at once.
const (
	disarmBelow = 0.9 // size of the file
	shrinkBelow = 0.8 // what is in use, for a file that is larger
)

// upkeep keeps the database of a member from growing for ever. The API server
// compacts it every five minutes; what that leaves free is used again, and given back
// to the file system by defragmentation when it is much.
type upkeep struct {
	server  *etcdserver.EtcdServer
	contain *contain.Containment
	gate    *gate
	space   *diskguard.Guard
	lg      *zap.Logger

	snapshots sync.RWMutex // read: a snapshot is under way; written: a defragmentation
	kick      chan struct{}
	running   sync.WaitGroup

	// Of run alone.
	seen, compacted int64     // revisions
	wished          time.Time // since when it wants to defragment, if it leads
}

func newUpkeep(s *etcdserver.EtcdServer, c *contain.Containment, calls *gate, sp *diskguard.Guard, lg *zap.Logger) *upkeep {
	return &upkeep{server: s, contain: c, gate: calls, space: sp, lg: lg, kick: make(chan struct{}, 1)}
}

// start begins the work, which ends when closing is closed.
func (u *upkeep) start(closing <-chan struct{}) {
	u.space.Reserve()
	u.running.Go(func() { u.run(closing) })
}

// hurry is called when a write was refused.
func (u *upkeep) hurry() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

func (u *upkeep) run(closing <-chan struct{}) {
	// Damage under the mapped database is for defragmentation to notice.
	debug.SetPanicOnFault(true)
	ctx := wait.ContextForChannel(closing)
	timer := time.NewTimer(0)
	defer timer.Stop()
	kick := u.kick
	for {
		select {
		case <-closing:
			return
		case <-u.contain.Failed():
			<-closing
			return
		case <-kick:
		case <-timer.C:
		}
		next := u.turn(ctx)
		timer.Reset(next)
		if kick = u.kick; next == alarmInterval {
			kick = nil // it hurries already
		}
	}
}

// turn does what is due and returns when to look again.
func (u *upkeep) turn(ctx context.Context) time.Duration {
	if !alarmed(u.server, noSpace, 0) {
		if u.space.Check() != nil {
			u.reclaim(ctx)
			return alarmInterval
		}
		u.seen, u.compacted = 0, 0
		if !u.fragmented() {
			u.wished = time.Time{}
			return upkeepInterval
		}
		if wait := u.untilTurn(time.Now()); wait > 0 {
			return min(wait, upkeepInterval)
		}
		u.defragment(ctx)
		return upkeepInterval
	}
	u.compact(ctx)
	u.recount()
	quota := float64(u.server.Cfg.QuotaBackendBytes)
	size, inUse := u.server.Backend().Size(), u.server.Backend().SizeInUse()
	if float64(size) >= quota*disarmBelow && float64(inUse) < quota*shrinkBelow && u.untilTurn(time.Now()) == 0 {
		u.defragment(ctx)
		size = u.server.Backend().Size()
	}
	if id := uint64(u.server.MemberID()); float64(size) < quota*disarmBelow && alarmed(u.server, noSpace, id) {
		err := u.call(ctx, func(ctx context.Context) error {
			_, err := u.server.Alarm(ctx, &pb.AlarmRequest{MemberID: id, Action: pb.AlarmRequest_DEACTIVATE, Alarm: noSpace})
			return err
		})
		if err != nil {
			u.lg.Warn("the alarm of the quota is not taken back; it will be tried again", zap.Error(err))
		} else {
			u.lg.Info("there is room below the quota again: writes are accepted", zap.Int64("size", size))
		}
	}
	return alarmInterval
}

// compact drops what was overwritten or deleted up to the last look, so that those
// who watch have a moment to follow. The API server cannot do it under the alarm: it
// notes each compaction with a write.
func (u *upkeep) compact(ctx context.Context) {
	target := u.seen
	u.seen = u.revision()
	if u.server.Leader() != u.server.MemberID() || target <= u.compacted {
		return
	}
	err := u.call(ctx, func(ctx context.Context) error {
		_, err := u.server.Compact(ctx, &pb.CompactionRequest{Revision: target})
		return err
	})
	if err != nil && !errors.Is(err, mvcc.ErrCompacted) {
		u.lg.Warn("the database is not compacted; it will be tried again", zap.Error(err))
		return
	}
	u.compacted = target
}

// recount brings SizeInUse up to date. What a commit frees counts as free after the
// next but one, and under the alarm there may be no other: so two are made that change
// nothing. Not under contain.run: what it holds when it gives up must not be let go.
func (u *upkeep) recount() {
	b := u.server.Backend()
	for range 2 {
		tx := b.BatchTx()
		tx.LockOutsideApply()
		if names, values := tx.UnsafeRange(schema.Meta, schema.MetaStorageVersionName, nil, 1); len(names) == 1 {
			tx.UnsafePut(schema.Meta, schema.MetaStorageVersionName, bytes.Clone(values[0]))
		}
		tx.Unlock()
		b.ForceCommit()
	}
}

// revision is that of the last write.
func (u *upkeep) revision() (revision int64) {
	_ = u.call(context.Background(), func(context.Context) error {
		revision = u.server.KV().Rev()
		return nil
	})
	return revision
}

// call is for calls of the server that wait for others.
func (u *upkeep) call(ctx context.Context, f func(context.Context) error) error {
	if !u.gate.enter() {
		return ErrClosed
	}
	defer u.gate.leave()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return u.contain.Run(func() error { return f(ctx) })
}

// SpaceNeeded returns how many bytes must be free on the disk of Config.Dir for the
// member to accept writes. Whatever else is written there should leave that free.
func (m *Member) SpaceNeeded() int64 { return m.upkeep.space.Need() }

// CheckSpace returns nil if the member accepts writes, as far as room for them is
// concerned. Otherwise the error says what has run out, and what to do: the disk
// (ErrNoSpace), or the quota. The member recovers from both by itself.
func (m *Member) CheckSpace() error {
	if err := m.upkeep.space.Check(); err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	s := m.etcd.Server
	if alarmed(s, pb.AlarmType_CORRUPT, 0) {
		return errors.New("etcd: the members of the cluster do not agree on the data, so that writes are refused: replace the members that are wrong, or restore a snapshot")
	}
	if alarmed(s, noSpace, 0) {
		quota := s.Cfg.QuotaBackendBytes
		return fieldpath.New("etcd", "", "the database has reached %s, %d, with %d in use, so that writes are refused: delete objects until less than %d is in use, or raise it and restart; freed space becomes available within seconds",
			fieldpath.Name("Config.QuotaBytes"), quota, s.Backend().SizeInUse(), int64(float64(quota)*shrinkBelow))
	}
	return nil
}
