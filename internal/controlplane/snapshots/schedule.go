// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package snapshots keeps snapshots of a control plane in a directory: it takes them at
// intervals and on request, deletes old ones, and leaves etcd the space that it needs on
// the same disk.
package snapshots

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// Fields of controlplane.Config, for errors.
const (
	dirField     = "Config.Snapshots.Dir"
	timeoutField = fieldpath.Name("Config.Snapshots.Timeout")
)

const (
	retryInterval = time.Minute
	// maxStartDelay bounds the random delay of the first snapshot after a start, so that
	// control planes that start together do not all write at the same moment.
	maxStartDelay = 10 * time.Second
	// The default of Config.Timeout: baseTimeout, and a second for each writeSpeed bytes.
	baseTimeout = 30 * time.Second
	writeSpeed  = 4 << 20
	// Grace is how long a snapshot that was cut short may take to clean up.
	Grace = time.Second
	// stopTimeout bounds Wait.
	stopTimeout = 3 * time.Second
	// spaceInterval is the time between two checks whether etcd needs the space of old
	// snapshots.
	spaceInterval = time.Minute
)

// Config describes a schedule. All fields are required but Interval and Timeout.
type Config struct {
	// Dir, Interval, Keep and Timeout are as in controlplane.Snapshots, with defaults for
	// Dir and Keep.
	Dir      string
	Interval time.Duration
	Keep     int
	Timeout  time.Duration

	// Write writes a snapshot.
	Write func(context.Context, io.Writer) error
	// Cluster returns the name of the cluster, and Size that of its database in bytes.
	Cluster func(context.Context) (string, error)
	Size    func(context.Context) (int64, error)
	// Elected reports whether this control plane takes the scheduled snapshots.
	Elected func() bool
	// Taken is notified of each snapshot, and Failed of each scheduled one that failed.
	Taken  func(time.Time)
	Failed func()

	Disk   *Disk
	Logger *zap.Logger
	Clock  clock.WithTicker
}

// Schedule takes snapshots at intervals and on request.
type Schedule struct {
	Config
	ctx    context.Context // ends when the control plane stops
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when run has returned

	present atomic.Pointer[files] // as of the last look at Dir
	taken   atomic.Int64          // number of snapshots
	// requested is notified of a snapshot that run has not taken.
	requested chan struct{}

	mu sync.Mutex
	// task uses the disk. It may never return.
	task *task
}

// Start starts a schedule. If Interval is zero it takes snapshots on request only.
func Start(c Config) *Schedule {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Schedule{Config: c, ctx: ctx, cancel: cancel, ended: make(chan struct{}), requested: make(chan struct{}, 1)}
	if c.Interval == 0 {
		close(s.ended)
	} else {
		go s.run(ctx)
	}
	return s
}

// Stop ends the schedule and its snapshots without waiting. It may be called again, and
// on nil.
func (s *Schedule) Stop() {
	if s != nil {
		s.cancel(etcd.ErrClosed)
	}
}

// Wait returns when the schedule has ended after Stop. If a disk hangs it returns an
// error, and a goroutine stays. It may be called on nil.
func (s *Schedule) Wait() error {
	if s == nil {
		return nil
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	for _, ended := range []func() <-chan struct{}{
		func() <-chan struct{} { return s.ended },
		func() <-chan struct{} { return s.current().ended() },
	} {
		select {
		case <-ended():
		case <-timeout.C:
			return s.hangs()
		}
	}
	return nil
}

func (s *Schedule) hangs() error {
	return fmt.Errorf("the snapshot to %s has not ended: is its disk hung?", s.Dir)
}

func (s *Schedule) run(ctx context.Context) {
	defer close(s.ended)
	upToDate := s.Elected() // as to the snapshots in Dir: no other control plane takes any
	if err := s.do(ctx, s.survey); err != nil && ctx.Err() == nil {
		s.Logger.Warn("cannot read the directory of snapshots", zap.Error(err))
	}
	timer := s.Clock.NewTimer(max(s.untilDue(), s.startDelay()))
	defer timer.Stop()
	spaceTicker := s.Clock.NewTicker(spaceInterval)
	defer spaceTicker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-spaceTicker.C():
			if err := s.relieve(ctx); err != nil && ctx.Err() == nil {
				s.Logger.Warn("cannot delete old snapshots, and etcd has too little space beside them", zap.Error(err))
			}
			continue
		case <-s.requested:
			timer.Reset(s.Interval)
			continue
		case <-timer.C():
		}
		next := s.Interval
		switch {
		case !s.Elected():
			// It may be elected long before the next snapshot is due.
			upToDate = false
			next = min(next, retryInterval)
		case !upToDate && s.lookUntilDue(ctx) > 0:
			upToDate = true
			next = s.untilDue()
		default:
			upToDate = true
			if err := s.do(ctx, s.takeUnless(s.taken.Load())); err != nil && ctx.Err() == nil {
				next = min(next, retryInterval)
				s.Failed()
				s.Logger.Error("snapshot failed; it will be tried again", zap.Duration("in", next), zap.Error(err))
			}
		}
		timer.Reset(next)
	}
}

// startDelay returns a random part of maxStartDelay, or of the interval if that is
// shorter.
func (s *Schedule) startDelay() time.Duration {
	return rand.N(min(s.Interval, maxStartDelay)) + 1
}

// untilDue returns the time until the next snapshot is due, by the newest snapshot of the
// last look. It is zero if the snapshot is overdue, or the age of the newest is unknown.
func (s *Schedule) untilDue() time.Duration {
	present := s.present.Load()
	if present == nil {
		return 0
	}
	newest, ok := present.newest()
	age := s.Clock.Since(newest.Time)
	if !ok || age < -futureTolerance {
		return 0
	}
	return max(0, s.Interval-max(0, age))
}

// lookUntilDue is untilDue after a look at the directory.
func (s *Schedule) lookUntilDue(ctx context.Context) time.Duration {
	err := s.do(ctx, func(ctx context.Context, _ *task) error {
		_, _, err := s.look(ctx)
		return err
	})
	if err != nil {
		return 0 // the snapshot fails for the same reason, and reports it
	}
	return s.untilDue()
}

// takeUnless is take, unless more than taken snapshots were taken in the meantime.
func (s *Schedule) takeUnless(taken int64) func(context.Context, *task) error {
	return func(ctx context.Context, t *task) error {
		if s.taken.Load() > taken {
			return nil
		}
		_, err := s.take(ctx, t)
		return err
	}
}

// survey lists the snapshots and warns about names from the future.
func (s *Schedule) survey(ctx context.Context, _ *task) error {
	_, present, err := s.look(ctx)
	if err != nil {
		return err
	}
	if future := present.future(s.Clock.Now()); len(future) > 0 {
		s.Logger.Warn("snapshots have names from the future: the clock is wrong now, or was then; their numbers decide which are the newest",
			zap.Int("snapshots", len(future)), zap.String("one", future[len(future)-1].Path), zap.Time("now", s.Clock.Now().UTC()))
	}
	return nil
}

// relieve deletes the oldest snapshots if etcd refuses writes for lack of space on their
// disk.
func (s *Schedule) relieve(ctx context.Context) error {
	present := s.present.Load()
	if present == nil || !present.sharesDisk || len(present.finished) < 2 || !s.Disk.low() {
		return nil
	}
	return s.do(ctx, func(ctx context.Context, _ *task) error {
		cluster, present, err := s.look(ctx)
		if err != nil {
			return err
		}
		defer func() { _, _ = s.read(cluster) }()
		return s.Disk.relieve(present, s.Logger)
	})
}

// look returns the name of the cluster and its snapshots.
func (s *Schedule) look(ctx context.Context) (cluster string, present files, err error) {
	if cluster, err = s.Cluster(ctx); err != nil {
		return cluster, present, err
	}
	present, err = s.read(cluster)
	return cluster, present, err
}

// read returns the snapshots of a cluster, and stores them in s.present.
func (s *Schedule) read(cluster string) (files, error) {
	present, err := readDir(s.Dir, cluster)
	if err == nil {
		_, present.sharesDisk = s.Disk.shared()
		s.present.Store(&present)
	}
	return present, err
}

// take takes a snapshot, deletes the oldest ones, and returns the path. When ctx has
// ended it only cleans up.
func (s *Schedule) take(ctx context.Context, t *task) (path string, err error) {
	size, err := s.Size(ctx)
	if err != nil {
		return "", err
	}
	if s.Timeout == 0 {
		t.extend(baseTimeout + time.Duration(size/writeSpeed)*time.Second)
	}
	cluster, err := s.Cluster(ctx)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return "", fieldpath.New("", dirField, "%w", err)
	}
	if err := ownership.Dir(s.Dir); err != nil {
		return "", fieldpath.New("", dirField, "%w", err)
	}
	present, err := s.read(cluster)
	if err != nil {
		return "", err
	}
	if err := present.tidy(); err != nil {
		return "", err
	}
	defer func() { _, _ = s.read(cluster) }()
	if err := s.Disk.makeRoom(present, size, s.Logger); err != nil {
		return "", err
	}
	now := s.Clock.Now()
	path = filepath.Join(s.Dir, fileName(cluster, present.next(), now))
	if err := s.write(ctx, path); err != nil {
		return "", err
	}
	s.taken.Add(1)
	s.Taken(now)
	defer s.log(path, now, present)
	if present, err = s.read(cluster); err != nil {
		return path, err
	}
	return path, present.retain(s.Keep, path)
}

// write leaves a complete snapshot at path, or none.
func (s *Schedule) write(ctx context.Context, path string) error {
	err := writeWhole(ctx, path, path+unfinishedSuffix, func(file io.Writer) error {
		return s.Write(ctx, s.Disk.Writer(ctx, file))
	})
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return fieldpath.New("", dirField, "%w", err)
	}
	return err
}

// log logs the snapshot at path, which was started at begin, and the snapshots that are
// gone since.
func (s *Schedule) log(path string, begin time.Time, before files) {
	fields := []zap.Field{zap.String("path", path), zap.Duration("took", s.Clock.Since(begin))}
	if info, err := os.Stat(path); err == nil {
		fields = append(fields, zap.Int64("size", info.Size()))
	}
	s.Logger.Info("snapshot written", fields...)
	for _, old := range before.finished {
		if _, err := os.Stat(old.Path); errors.Is(err, fs.ErrNotExist) {
			s.Logger.Info("snapshot removed", zap.String("path", old.Path), zap.Int64("size", old.Size), zap.Int("keep", s.Keep))
		}
	}
}

// Take takes a snapshot at once, and delays the next scheduled one by the interval. An
// error with a file means that the snapshot was taken but an old one not deleted.
func (s *Schedule) Take(ctx context.Context) (File, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	if s.ctx.Err() != nil {
		return File{}, etcd.ErrClosed
	}
	type result struct {
		file File
		err  error
	}
	taken := make(chan result, 1)
	err := s.do(ctx, func(ctx context.Context, t *task) error {
		path, err := s.take(ctx, t)
		if path != "" {
			select {
			case s.requested <- struct{}{}:
			default:
			}
			var file File
			if present := s.present.Load(); present != nil {
				for _, f := range present.finished {
					if f.Path == path {
						file = f
					}
				}
			}
			taken <- result{file, err}
		}
		return err
	})
	select {
	case r := <-taken:
		return r.file, r.err
	default:
		return File{}, err
	}
}

// Advice names the snapshots that can be deleted if etcd has too little space on their
// disk. It is empty if there are none. It may be called on nil.
func (s *Schedule) Advice() string {
	if s == nil {
		return ""
	}
	present := s.present.Load()
	if present == nil || !present.sharesDisk || len(present.finished) < 2 {
		return ""
	}
	return present.advice(s.Dir)
}

// uidGroup is the first group of a UID.
var uidGroup = regexp.MustCompile(`\A[0-9a-f]{8}`)

// ShortName returns eight digits that identify uid.
func ShortName(uid string) string {
	if digits := uidGroup.FindString(uid); digits != "" {
		return digits
	}
	sum := sha256.Sum256([]byte(uid))
	return fmt.Sprintf("%x", sum[:4])
}
