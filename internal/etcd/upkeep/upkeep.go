// Package upkeep keeps the database of a member small: it defragments it, clears the alarm of
// its quota, and frees room on a disk that is almost full.
package upkeep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubembed/kubembed/internal/etcd/calls"
	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/diskguard"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
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

// Upkeep keeps the database of a member from growing for ever. The API server
// compacts it every five minutes; what that leaves free is used again, and given back
// to the file system by defragmentation when it is much.
type Upkeep struct {
	server  *etcdserver.EtcdServer
	contain *contain.Containment
	calls   *calls.Group
	disk    *diskguard.Guard
	lg      *zap.Logger

	snapshots sync.RWMutex // read: a snapshot is under way; written: a defragmentation
	kick      chan struct{}
	running   sync.WaitGroup

	// Of run alone.
	seen, compacted int64     // revisions
	wished          time.Time // since when it wants to defragment, if it leads
}

func New(s *etcdserver.EtcdServer, c *contain.Containment, group *calls.Group, disk *diskguard.Guard, lg *zap.Logger) *Upkeep {
	return &Upkeep{server: s, contain: c, calls: group, disk: disk, lg: lg, kick: make(chan struct{}, 1)}
}

// Start begins the work, which ends when closing is closed.
func (u *Upkeep) Start(closing <-chan struct{}) {
	u.disk.Reserve()
	u.running.Go(func() { u.run(closing) })
}

// Hurry is called when a write was refused.
func (u *Upkeep) Hurry() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

func (u *Upkeep) run(closing <-chan struct{}) {
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
func (u *Upkeep) turn(ctx context.Context) time.Duration {
	if !Alarmed(u.server, NoSpace, 0) {
		if u.disk.Check() != nil {
			u.reclaim(ctx)
			return alarmInterval
		}
		u.seen, u.compacted = 0, 0
		if !u.fragmented() {
			u.wished = time.Time{}
			return upkeepInterval
		}
		if wait := u.UntilTurn(time.Now()); wait > 0 {
			return min(wait, upkeepInterval)
		}
		u.defragment(ctx)
		return upkeepInterval
	}
	u.compact(ctx)
	u.recount()
	quota := float64(u.server.Cfg.QuotaBackendBytes)
	size, inUse := u.server.Backend().Size(), u.server.Backend().SizeInUse()
	if float64(size) >= quota*disarmBelow && float64(inUse) < quota*shrinkBelow && u.UntilTurn(time.Now()) == 0 {
		u.defragment(ctx)
		size = u.server.Backend().Size()
	}
	if id := uint64(u.server.MemberID()); float64(size) < quota*disarmBelow && Alarmed(u.server, NoSpace, id) {
		err := u.Call(ctx, func(ctx context.Context) error {
			_, err := u.server.Alarm(ctx, &pb.AlarmRequest{MemberID: id, Action: pb.AlarmRequest_DEACTIVATE, Alarm: NoSpace})
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
func (u *Upkeep) compact(ctx context.Context) {
	target := u.seen
	u.seen = u.Revision()
	if u.server.Leader() != u.server.MemberID() || target <= u.compacted {
		return
	}
	err := u.Call(ctx, func(ctx context.Context) error {
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
func (u *Upkeep) recount() {
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

// Revision is that of the last write.
func (u *Upkeep) Revision() (revision int64) {
	_ = u.Call(context.Background(), func(context.Context) error {
		revision = u.server.KV().Rev()
		return nil
	})
	return revision
}

// Call is for calls of the server that wait for others.
func (u *Upkeep) Call(ctx context.Context, f func(context.Context) error) error {
	end, ok := u.calls.Begin()
	if !ok {
		return errdefs.ErrClosed
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return u.contain.Run(func() error { return f(ctx) })
}

// Wait returns when the work has ended.
func (u *Upkeep) Wait() { u.running.Wait() }

// Disk returns the guard of the member's disk.
func (u *Upkeep) Disk() *diskguard.Guard { return u.disk }

// BeginSnapshot keeps the database from being defragmented until end is called.
func (u *Upkeep) BeginSnapshot() (end func()) {
	u.snapshots.RLock()
	return u.snapshots.RUnlock
}

// Defragment defragments the database for a client.
func (u *Upkeep) Defragment() error {
	end, ok := u.calls.Begin()
	if !ok {
		return rpctypes.ErrGRPCStopped
	}
	defer end()
	u.snapshots.Lock()
	defer u.snapshots.Unlock()
	// Not under contain.Run, see defragment.
	return u.server.Defragment()
}

// CheckSpace returns why the member refuses writes for want of room, or nil.
func (u *Upkeep) CheckSpace() error {
	if err := u.disk.Check(); err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	s := u.server
	if Alarmed(s, pb.AlarmType_CORRUPT, 0) {
		return errors.New("etcd: the members of the cluster do not agree on the data, so that writes are refused: replace the members that are wrong, or restore a snapshot")
	}
	if Alarmed(s, NoSpace, 0) {
		quota := s.Cfg.QuotaBackendBytes
		return fieldpath.New("etcd", "", "the database has reached %s, %d, with %d in use, so that writes are refused: delete objects until less than %d is in use, or raise it and restart; freed space becomes available within seconds",
			fieldpath.Name("Config.QuotaBytes"), quota, s.Backend().SizeInUse(), int64(float64(quota)*shrinkBelow))
	}
	return nil
}

// NoSpace is the alarm of the quota.
const NoSpace = pb.AlarmType_NOSPACE

// Alarmed tells whether the alarm is on, of the member id or, if that is zero, of
// any member of the cluster.
func Alarmed(s *etcdserver.EtcdServer, alarm pb.AlarmType, id uint64) bool {
	for _, a := range s.Alarms() {
		if a.Alarm == alarm && (id == 0 || a.MemberID == id) {
			return true
		}
	}
	return false
}
