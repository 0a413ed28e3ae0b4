// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package logqueue keeps a host's logger from blocking the code that logs.
//
// A [Queue] is between the two: callers append to a bounded list, and one goroutine
// passes the lines to the logger, in order. A logger that blocks, panics, or logs again
// affects only that goroutine. The queue drops and counts lines that do not fit. It does
// the same with lines of one kind that come too often (see [Rate]): unauthenticated
// clients can cause log lines, and must not fill a disk with them.
package logqueue

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

const (
	// maxLines and maxBytes bound the waiting lines. A start logs a few
	// hundred lines.
	maxLines = 4096
	maxBytes = 8 << 20

	// panicWait bounds the wait for an entry that ends something.
	panicWait = time.Second
)

// Timeouts of Close. They are variables for tests.
var (
	stallTimeout = 2 * time.Second // without a line
	closeTimeout = 10 * time.Second
)

// Reasons for dropped lines.
const (
	Full   = "full"   // the logger does not keep up
	Rate   = "rate"   // too many of the same kind
	Failed = "failed" // the logger panicked
	Closed = "closed" // the queue was closed
)

// Queue hands lines to one logger. Its methods are safe for concurrent use.
type Queue struct {
	root     *Core
	logger   *zap.Logger
	failures zapcore.WriteSyncer // where zap reports failed writes
	dropped  func(reason string, lines int)
	wake     chan struct{} // capacity one
	done     chan struct{} // closed when the worker has ended
	close    func() error
	pending  atomic.Int64 // lines that the logger has not taken
	written  atomic.Int64 // lines that it has taken
	gaveUp   atomic.Bool
	began    atomic.Int64 // start of the running call of the logger; see Stalled

	mu     sync.Mutex
	lines  []line
	bytes  int
	lost   int // since the last report
	limits limiter
	closed bool

	// Fields of the worker.
	batch   []line
	current line
	failed  int
}

// line is one entry for the logger, or a mark to close in its turn.
type line struct {
	core   *Core
	entry  zapcore.Entry
	fields []zapcore.Field
	mark   chan struct{}
	report bool // about other lines
}

// New returns a queue in front of logger. Call Close. dropped, unless nil, is called with
// the reason for and the number of dropped lines.
func New(logger *zap.Logger, dropped func(reason string, lines int)) *Queue {
	if dropped == nil {
		dropped = func(string, int) {}
	}
	q := &Queue{
		failures: errorOutput(logger), dropped: dropped,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	q.root = &Core{queue: q, host: logger.Core()}
	q.logger = logger.WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core { return q.root }))
	q.close = sync.OnceValue(q.end)
	go q.work()
	return q
}

// Logger returns the logger in front of the queue. It has the options and the levels of
// the logger behind it. Values in its fields may change after a call.
func (q *Queue) Logger() *zap.Logger { return q.logger }

// Core returns the core of Logger.
func (q *Queue) Core() *Core { return q.root }

// Ensure returns logger if it already belongs to a Queue. Otherwise it calls New.
func Ensure(logger *zap.Logger, dropped func(reason string, lines int)) (queued *zap.Logger, closeQueue func() error) {
	if core, ok := logger.Core().(interface{ Queued() bool }); ok && core.Queued() {
		return logger, func() error { return nil }
	}
	q := New(logger, dropped)
	return q.Logger(), q.Close
}

// Ensured is Ensure for a function that logs until it returns. Defer done: it adds an
// error to the function's error if the logger blocks.
func Ensured(logger *zap.Logger, err *error) (queued *zap.Logger, done func()) {
	queued, closeQueue := Ensure(logger, nil)
	return queued, func() {
		if blocked := closeQueue(); blocked != nil {
			*err = errors.Join(*err, fieldpath.New("", "Config.Logger", "%w", blocked))
		}
	}
}

// Close waits until the logger has taken all lines. It returns an error if that takes two
// seconds for a single line, or ten in all. Later lines are dropped. A logger that never
// returns keeps one goroutine.
func (q *Queue) Close() error { return q.close() }

func (q *Queue) end() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
	deadline := time.NewTimer(closeTimeout)
	defer deadline.Stop()
	stall := time.NewTicker(stallTimeout)
	defer stall.Stop()
	for before := q.written.Load(); ; {
		select {
		case <-q.done:
			return nil
		case <-deadline.C:
		case <-stall.C:
			if now := q.written.Load(); now != before {
				before = now
				continue
			}
		}
		q.gaveUp.Store(true)
		waiting := int(q.pending.Load())
		q.dropped(Closed, waiting)
		return fmt.Errorf("it blocks, %d lines are not written: a Logger must return", waiting)
	}
}

// Flush waits up to timeout until the logger has taken the queued lines, and reports
// whether it has. If the logger itself calls it, it does not wait.
func (q *Queue) Flush(timeout time.Duration) bool {
	if Delivering() {
		return false
	}
	mark := make(chan struct{})
	q.mu.Lock()
	if q.closed {
		mark = q.done
	} else {
		q.lines = append(q.lines, line{mark: mark})
	}
	q.mu.Unlock()
	q.signal()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-mark:
		return true
	case <-q.done:
		return true
	case <-timer.C:
		return false
	}
}

// admit reports whether to queue a line, and counts it if not.
func (q *Queue) admit(kind string, entry *zapcore.Entry, verbose bool) bool {
	q.mu.Lock()
	reason := q.refusal(kind, entry, verbose)
	q.mu.Unlock()
	if reason == "" {
		return true
	}
	q.dropped(reason, 1)
	if reason == Rate {
		q.signal() // wakes the worker, which reports it in time
	}
	return false
}

// refusal returns the reason for dropping a line, or an empty string. The caller holds
// mu.
func (q *Queue) refusal(kind string, entry *zapcore.Entry, verbose bool) string {
	switch {
	case q.closed:
		return Closed
	case entry.Level >= zapcore.DPanicLevel:
		return "" // such entries are few, and explain why something ended
	case !q.limits.take(kind, entry, verbose, time.Now()):
		return Rate
	case len(q.lines) >= maxLines || q.bytes >= maxBytes:
		q.lost++
		return Full
	}
	return ""
}

func (q *Queue) push(l line) {
	q.mu.Lock()
	closed := q.closed
	if !closed {
		q.lines = append(q.lines, l)
		q.bytes += size(l)
		q.pending.Add(1)
	}
	q.mu.Unlock()
	if closed {
		q.dropped(Closed, 1)
		return
	}
	q.signal()
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// size estimates the memory of a line.
func size(l line) int {
	n := 200 + len(l.entry.Message) + len(l.entry.Stack)
	for i := range l.fields {
		n += 100 + len(l.fields[i].String)
		switch v := l.fields[i].Interface.(type) {
		case []byte:
			n += len(v)
		case sized:
			n += v.size()
		}
	}
	return n
}

// errorOutput returns the output to which logger reports errors of its cores.
func errorOutput(logger *zap.Logger) zapcore.WriteSyncer {
	logger = logger.WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core { return probe{} }))
	checked := logger.Check(zapcore.InfoLevel, "")
	if checked == nil {
		return nil
	}
	output := checked.ErrorOutput
	checked.Write() // which returns it to zap
	return output
}

// probe is a core that accepts everything and writes nothing.
type probe struct{}

func (probe) Enabled(zapcore.Level) bool          { return true }
func (p probe) With([]zapcore.Field) zapcore.Core { return p }
func (p probe) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, p)
}
func (probe) Write(zapcore.Entry, []zapcore.Field) error { return nil }
func (probe) Sync() error                                { return nil }
