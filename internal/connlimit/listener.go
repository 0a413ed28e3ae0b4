// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"container/list"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Options describe a listener.
type Options struct {
	// Name identifies the listener in metrics and in the log.
	Name string
	// NoAuthentication reports that the listener does not authenticate: all connections
	// rank no higher than Guest.
	NoAuthentication bool
	// Logger gets a line about closed connections at intervals. If nil, nothing is
	// logged.
	Logger *zap.Logger
}

// Listener accepts connections and counts them.
type Listener struct {
	net.Listener
	budget    *Budget
	options   Options
	done      chan struct{} // closed by Close
	closeOnce sync.Once
	closeErr  error

	// Under the budget's lock.
	unauthenticated *list.List // the oldest first
	isClosed        bool
	report          report
}

// Listener returns a listener that counts the connections of l.
func (b *Budget) Listener(l net.Listener, options Options) *Listener {
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	wrapped := &Listener{Listener: l, budget: b, options: options, done: make(chan struct{}), unauthenticated: list.New()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners[wrapped] = struct{}{}
	return wrapped
}

// Accept returns the next connection that fits. If the system has no descriptor left, it
// closes excess connections and tries again, with pauses, until Close.
func (l *Listener) Accept() (net.Conn, error) {
	const shortest, longest = 5 * time.Millisecond, time.Second
	delay := shortest
	for {
		accepted, err := l.Listener.Accept()
		if err == nil {
			delay = shortest
			if c := l.budget.admit(l, accepted); c != nil {
				return c, nil
			}
			continue
		}
		if !l.budget.relieve(err) {
			return nil, err
		}
		if !l.wait(delay) {
			return nil, net.ErrClosed
		}
		delay = min(2*delay, longest)
	}
}

// wait returns after d, or false as soon as the listener is closed.
func (l *Listener) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// CloseUnauthenticated closes the unauthenticated connections. It is for servers that
// would wait for their handshakes after Close.
func (l *Listener) CloseUnauthenticated() {
	b := l.budget
	b.mu.Lock()
	var closing []*Conn
	for l.unauthenticated.Len() > 0 {
		c := l.unauthenticated.Front().Value.(*Conn)
		b.remove(c)
		closing = append(closing, c)
	}
	b.forget(l)
	b.mu.Unlock()
	for _, c := range closing {
		_ = c.Conn.Close()
	}
}

// Close closes the listener. Accepted connections stay open.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() {
		close(l.done)
		l.closeErr = l.Listener.Close()
		b := l.budget
		b.mu.Lock()
		l.isClosed = true
		logging := l.report.logging
		b.forget(l)
		b.mu.Unlock()
		if logging != nil {
			// A Logger of the host that hangs must not block Close.
			select {
			case <-logging:
			case <-time.After(time.Second):
			}
		}
	})
	return l.closeErr
}
