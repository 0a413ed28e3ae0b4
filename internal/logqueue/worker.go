// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logqueue

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/callstack"
)

// reportInterval is the delay of log lines about dropped lines. It is a variable for
// tests.
var reportInterval = 10 * time.Second

// work passes the lines to the logger until the queue is closed and empty.
func (q *Queue) work() {
	ended := false
	defer func() {
		if !ended { // the logger has ended this goroutine: runtime.Goexit
			q.lose()
			q.ended()
			go q.work()
		}
	}()
	var report <-chan time.Time
	for {
		for len(q.batch) > 0 {
			// Remove it first: the logger may not return.
			l := q.batch[0]
			q.batch[0] = line{}
			q.batch = q.batch[1:]
			q.take(l)
		}
		more, closed, suppressed := q.next()
		switch {
		case more:
			continue
		case closed:
			q.report()
			ended = true
			close(q.done)
			return
		case suppressed && report == nil:
			report = time.After(reportInterval)
		}
		select {
		case <-q.wake:
		case <-report:
			report = nil
			q.report()
		}
	}
}

// next takes the waiting lines.
func (q *Queue) next() (more, closed, suppressed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batch, q.lines, q.bytes = q.lines, nil, 0
	if q.lost > 0 {
		// They would have followed the waiting lines.
		q.batch = append(q.batch, q.summary(zapcore.WarnLevel, "log lines dropped: the Logger did not keep up", q.lost))
		q.lost = 0
	}
	if q.failed > 0 {
		q.batch = append(q.batch, q.summary(zapcore.WarnLevel, "log lines lost: the Logger panicked", q.failed))
		q.failed = 0
	}
	return len(q.batch) > 0, q.closed, q.limits.suppressed
}

// report writes the number of dropped lines of each kind.
func (q *Queue) report() {
	q.mu.Lock()
	kinds := q.limits.report()
	q.mu.Unlock()
	for _, k := range kinds {
		l := q.summary(k.level, "log lines were suppressed: too many of one kind", k.suppressed)
		l.entry.LoggerName = k.logger
		l.fields = append(l.fields, zap.String("kind", k.kind), zap.String("last", k.lastMessage))
		q.take(l)
	}
}

func (q *Queue) summary(level zapcore.Level, message string, lines int) line {
	return line{
		core:   q.root,
		entry:  zapcore.Entry{Level: level, Time: time.Now(), LoggerName: q.logger.Name(), Message: message},
		fields: []zapcore.Field{zap.Int("lines", lines)},
		report: true,
	}
}

// take passes a line to the logger, unless Close has given up.
func (q *Queue) take(l line) {
	switch {
	case l.mark != nil:
		close(l.mark)
		return
	case q.gaveUp.Load():
		return // Close has counted it
	}
	q.current = l
	q.call()
	q.ended()
}

// ended records that the logger has returned.
func (q *Queue) ended() {
	q.written.Add(1)
	if !q.current.report {
		q.pending.Add(-1)
	}
}

// call calls the logger with the current line, and recovers panics.
func (q *Queue) call() {
	defer func() {
		if recover() != nil {
			q.lose()
		}
	}()
	delivering.Add(1)
	defer delivering.Add(-1)
	q.began.Store(time.Since(epoch).Nanoseconds() + 1)
	defer q.began.Store(0)
	q.deliver(q.current)
}

// lose counts a line lost to a failing logger. Reports do not count.
func (q *Queue) lose() {
	if !q.current.report {
		q.dropped(Failed, 1)
		q.failed++
	}
}

// deliver calls the logger. Delivering finds it by its name.
//
//go:noinline
func (q *Queue) deliver(l line) {
	checked := l.core.resolve().Check(l.entry, nil)
	if checked == nil {
		return
	}
	checked.ErrorOutput = q.failures
	checked.Write(l.fields...)
}

// delivering is the number of running calls of loggers, of all queues.
var delivering atomic.Int64

// Delivering reports whether a logger that a Queue has called is the caller. Its own
// lines must not come back to it.
func Delivering() bool {
	if delivering.Load() == 0 {
		return false
	}
	return callstack.HasPrefix(deliver)
}

// deliver is the symbol of Queue.deliver.
const deliver = "github.com/kubembed/kubembed/internal/logqueue.(*Queue).deliver"

// epoch is the zero of Queue.began, by the monotonic clock.
var epoch = time.Now()

// Stalled returns how long the current call of the logger has lasted, or zero.
func (q *Queue) Stalled() time.Duration {
	began := q.began.Load()
	if began == 0 {
		return 0
	}
	return max(0, time.Since(epoch)-time.Duration(began))
}
