// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"maps"
	"time"

	"go.uber.org/zap"
)

// Client is the kind of client whose connection was closed.
type Client string

// Kinds of clients.
const (
	Unauthenticated Client = "unauthenticated"
	Unprivileged    Client = "unprivileged"
	Idle            Client = "idle"
	Busy            Client = "busy"
	// Refused is a client whose connection was closed right after accept, because no
	// other connection could be closed.
	Refused Client = "refused"
)

// Closed identifies connections that were closed because there were too many.
type Closed struct {
	Listener string
	Client   Client
}

// Stats are the numbers of a budget.
type Stats struct {
	// Capacity is the maximum number of connections; Open, the current one.
	Capacity, Open int
	// Closed is the number of closed connections since the process started.
	Closed map[Closed]uint64
}

// Stats returns the current numbers.
func (b *Budget) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.measureIfDue(nil)
	s := Stats{Capacity: b.size.capacity, Open: b.total(), Closed: map[Closed]uint64{}}
	maps.Copy(s.Closed, b.closed)
	return s
}

const (
	// logInterval is the minimum interval between log lines about closed connections.
	logInterval = 10 * time.Second
	// checkInterval is the interval of checks of the number of connections.
	checkInterval = time.Second
)

// report collects closed connections of a listener for the log.
type report struct {
	closed  map[Client]int
	logged  time.Time
	logging chan struct{} // closed when the line is written
}

func (b *Budget) count(what Closed, l *Listener) {
	b.closed[what]++
	if l.report.closed == nil {
		l.report.closed = map[Client]int{}
	}
	l.report.closed[what.Client]++
}

// scheduleCheck schedules check while there are connections. It needs no goroutine that
// must be stopped. The caller holds mu.
func (b *Budget) scheduleCheck() {
	if b.timer == nil {
		b.timer = time.AfterFunc(checkInterval, b.check)
	}
}

// forget removes a closed listener. Its connections still count. The caller holds mu.
func (b *Budget) forget(l *Listener) {
	if l.unauthenticated.Len() == 0 {
		delete(b.listeners, l)
	}
	if b.total() == 0 && b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
}

// check closes excess connections, and logs closed ones.
func (b *Budget) check() {
	b.mu.Lock()
	b.timer = nil
	b.measureIfDue(nil)
	victims := b.excess()
	pending := false
	for l := range b.listeners {
		if l.isClosed {
			if l.unauthenticated.Len() == 0 {
				delete(b.listeners, l)
			}
			continue
		}
		b.logClosed(l)
		pending = pending || len(l.report.closed) > 0
	}
	if b.total() > 0 || pending {
		b.scheduleCheck()
	}
	b.mu.Unlock()
	for _, v := range victims {
		_ = v.Conn.Close()
	}
}

// logClosed logs a listener's closed connections, if it is time. The caller holds mu.
func (b *Budget) logClosed(l *Listener) {
	r := &l.report
	if len(r.closed) == 0 || r.logging != nil || time.Since(r.logged) < logInterval {
		return
	}
	all := 0
	for _, number := range r.closed {
		all += number
	}
	fields := []zap.Field{
		zap.String("listener", l.options.Name), zap.Int("closed", all), zap.Any("clients", r.closed),
		zap.Int("open", b.total()), zap.Int("connections", b.size.capacity), zap.Int("open-files-limit", b.size.limit),
		zap.Int("open-files-of-others", b.size.others),
	}
	r.closed, r.logged, r.logging = nil, time.Now(), make(chan struct{})
	done := r.logging
	go func() { // a Logger may hang
		l.options.Logger.Warn("connections were closed: too many for the limit of open files (if all of them are yours, raise it by ulimit -n or LimitNOFILE=)", fields...)
		b.mu.Lock()
		r.logging = nil
		b.mu.Unlock()
		close(done)
	}()
}
