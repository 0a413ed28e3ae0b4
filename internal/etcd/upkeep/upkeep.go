// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package upkeep keeps the database of a member small: it defragments the database,
// clears the alarm of the quota, and frees space on a disk that is almost full.
package upkeep

import (
	"bytes"
	"context"
	"errors"
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

// The interval of upkeep. It is short under the alarm of the quota: clients that delete
// objects wait for it.
const (
	upkeepInterval = 30 * time.Second
	alarmInterval  = time.Second
)

// The fractions of the quota below which the alarm is cleared. A database just below the
// quota would raise the next alarm at once.
const (
	disarmBelow = 0.9 // size of the file
	shrinkBelow = 0.8 // data in use, for a larger file
)

// Upkeep keeps the database of a member from growing forever. The API server compacts it
// every five minutes. The space that this frees is reused, and defragmentation returns it
// to the file system when there is much of it.
type Upkeep struct {
	server  *etcdserver.EtcdServer
	contain *contain.Containment
	calls   *calls.Group
	disk    *diskguard.Guard
	lg      *zap.Logger

	snapshots sync.RWMutex // read-locked by snapshots, locked by defragmentations
	kick      chan struct{}
	running   sync.WaitGroup

	// Used by run only.
	seen, compacted int64     // revisions
	wantedSince     time.Time // when a leader wanted to defragment first
}

// New returns the upkeep of a member. Start starts it.
func New(s *etcdserver.EtcdServer, c *contain.Containment, group *calls.Group, disk *diskguard.Guard, lg *zap.Logger) *Upkeep {
	return &Upkeep{server: s, contain: c, calls: group, disk: disk, lg: lg, kick: make(chan struct{}, 1)}
}

// Start starts the upkeep, which ends when closing is closed.
func (u *Upkeep) Start(closing <-chan struct{}) {
	u.disk.Reserve()
	u.running.Go(func() { u.run(closing) })
}

// Hurry starts the upkeep at once. It is called when a write was refused.
func (u *Upkeep) Hurry() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

func (u *Upkeep) run(closing <-chan struct{}) {
	// Defragmentation panics on damage in the mapped database.
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
			kick = nil // the next turn is soon
		}
	}
}

// turn does the work that is due and returns the time until the next turn.
func (u *Upkeep) turn(ctx context.Context) time.Duration {
	if !Alarmed(u.server, NoSpace, 0) {
		if u.disk.Check() != nil {
			u.reclaim(ctx)
			return alarmInterval
		}
		u.seen, u.compacted = 0, 0
		if !u.fragmented() {
			u.wantedSince = time.Time{}
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
			u.lg.Warn("alarm of the quota not cleared; will retry", zap.Error(err))
		} else {
			u.lg.Info("database is below the quota again: writes are accepted", zap.Int64("size", size))
		}
	}
	return alarmInterval
}

// compact compacts the history up to the last turn, so that watches have a moment to
// follow. The API server cannot do it under the alarm: it records each compaction by a
// write.
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
		u.lg.Warn("database not compacted; will retry", zap.Error(err))
		return
	}
	u.compacted = target
}

// recount updates SizeInUse. Space that a commit frees counts as free after the next
// commit but one, and under the alarm there may be none: so recount makes two that change
// nothing. Not under contain.Run: its locks must stay held if it gives up.
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

// Revision returns the revision of the last write.
func (u *Upkeep) Revision() (revision int64) {
	_ = u.Call(context.Background(), func(context.Context) error {
		revision = u.server.KV().Rev()
		return nil
	})
	return revision
}

// Call calls the server for requests that wait for other members.
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

// Wait returns when the upkeep has ended.
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

// CheckSpace returns the reason why the member refuses writes for lack of space, or nil.
func (u *Upkeep) CheckSpace() error {
	if err := u.disk.Check(); err != nil {
		return fieldpath.New("etcd", "", "%w", err)
	}
	s := u.server
	if Alarmed(s, pb.AlarmType_CORRUPT, 0) {
		return fieldpath.New("etcd", "", "the members of the cluster have different data, so that writes are refused: replace the members that are wrong, or restore a snapshot")
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

// Alarmed reports whether the alarm of member id is active, or of any member if id is
// zero.
func Alarmed(s *etcdserver.EtcdServer, alarm pb.AlarmType, id uint64) bool {
	for _, a := range s.Alarms() {
		if a.Alarm == alarm && (id == 0 || a.MemberID == id) {
			return true
		}
	}
	return false
}
