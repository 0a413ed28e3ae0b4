// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// reserve is the number of descriptors left for files: etcd's log and database,
	// snapshots, audit logs, and files of the host.
	reserve = 200
	// minCapacity is the least number of connections, however few descriptors are left.
	minCapacity = 8
	// maxUnknown bounds connections of unauthenticated clients and guests on systems
	// without a tight limit: each takes some 25 KiB.
	maxUnknown = 8192
	// grace is how long a connection may take to authenticate before a newer one can
	// replace it. Further connections wait in the system's queue, which needs no
	// descriptors.
	grace = 250 * time.Millisecond
	// silentGrace is how long a connection may take to send its first byte. Real clients
	// have sent it when the connection is accepted, or soon after.
	silentGrace = 50 * time.Millisecond
	// fairShare is the number of connections per client without a lower rank.
	fairShare = 16
	// pause bounds how long a listener waits before it tries again.
	pause = 25 * time.Millisecond
)

// Process is the budget of this process.
var Process = New()

// Budget is a number of connections that listeners share. Its methods are safe for
// concurrent use.
type Budget struct {
	system             system
	grace, silentGrace time.Duration

	mu              sync.Mutex
	listeners       map[*Listener]struct{}
	unauthenticated int                // unauthenticated connections of all listeners
	known           map[*Conn]struct{} // authenticated connections
	guests          int                // known connections of guests
	clients         map[string]int     // known connections by client
	overFairShare   int                // clients with more than fairShare
	outgoing        int
	size            size
	measured        time.Time
	timer           *time.Timer // nil while there are no connections
	closed          map[Closed]uint64
}

// New returns a separate budget, measured against this process.
func New() *Budget { return newBudget(processLimits{}) }

func newBudget(s system) *Budget {
	return &Budget{
		system: s, grace: grace, silentGrace: silentGrace,
		listeners: map[*Listener]struct{}{}, known: map[*Conn]struct{}{},
		clients: map[string]int{}, closed: map[Closed]uint64{},
	}
}

// size is the last measurement.
type size struct {
	limit    int // descriptors of the process
	others   int // descriptors that are not connections of the budget
	capacity int // connections
}

// total returns the number of connections. The caller holds mu.
func (b *Budget) total() int { return b.unauthenticated + len(b.known) + b.outgoing }

// fits reports whether n more connections fit. The caller holds mu.
func (b *Budget) fits(n int) bool {
	return b.total()+n <= b.size.capacity && b.unauthenticated+b.guests+n <= maxUnknown
}

// newcomers is the part of the budget reserved for unauthenticated connections.
// Authenticated clients cannot take it. The caller holds mu.
func (b *Budget) newcomers() int { return max(minCapacity/2, b.size.capacity/8) }

// spare is the part of the budget that guests, and clients above their fair share, cannot
// take. The caller holds mu.
func (b *Budget) spare() int { return b.size.capacity / 2 }

// admit makes room for an accepted connection. If there is none, it closes the connection
// and returns nil.
func (b *Budget) admit(l *Listener, accepted net.Conn) *Conn {
	c := &Conn{Conn: accepted, budget: b, listener: l, opened: time.Now()}
	for {
		b.mu.Lock()
		b.measureIfDue(accepted)
		if b.fits(1) && !l.isClosed {
			c.place = l.unauthenticated.PushBack(c)
			b.unauthenticated++
			b.scheduleCheck()
			b.mu.Unlock()
			return c
		}
		if l.isClosed {
			b.mu.Unlock()
			_ = accepted.Close()
			return nil
		}
		v, wait := b.victim(time.Now(), true)
		if v == nil && wait == 0 {
			b.count(Closed{l.options.Name, Refused}, l)
		}
		b.mu.Unlock()
		switch {
		case v != nil:
			_ = v.Conn.Close()
		case wait > 0:
			l.wait(min(wait, pause))
		default:
			_ = accepted.Close()
			return nil
		}
	}
}

// Dial counts the connection that dial makes, while it is open. If there is no room for
// it, Dial returns [ErrExhausted] without calling dial.
func (b *Budget) Dial(dial func() (net.Conn, error)) (net.Conn, error) {
	if !b.reserveOutgoing() {
		return nil, ErrExhausted
	}
	conn, err := dial()
	if err != nil {
		b.mu.Lock()
		b.outgoing--
		b.mu.Unlock()
		return nil, err
	}
	return &Conn{Conn: conn, budget: b, opened: time.Now()}, nil
}

func (b *Budget) reserveOutgoing() bool {
	for {
		b.mu.Lock()
		b.measureIfDue(nil)
		// Half: clients that make the server open connections must not keep others from
		// connecting.
		if b.outgoing >= b.size.capacity/2 {
			b.mu.Unlock()
			return false
		}
		if b.total() < b.size.capacity {
			b.outgoing++
			b.scheduleCheck()
			b.mu.Unlock()
			return true
		}
		v, _ := b.victim(time.Now(), false)
		b.mu.Unlock()
		if v == nil {
			return false
		}
		_ = v.Conn.Close()
	}
}

// relieve closes excess connections after accept has failed, and reports whether to
// accept again.
func (b *Budget) relieve(err error) bool {
	full := errors.Is(err, errTooMany)
	if !full && !slices.ContainsFunc(temporaryErrors, func(target error) bool { return errors.Is(err, target) }) {
		return false
	}
	b.mu.Lock()
	b.measure(full)
	victims := b.excess()
	b.mu.Unlock()
	for _, v := range victims {
		_ = v.Conn.Close()
	}
	return true
}

// excess removes connections until the rest fits. The caller holds mu, and closes them.
func (b *Budget) excess() (victims []*Conn) {
	for !b.fits(0) {
		v, _ := b.victim(time.Now(), false)
		if v == nil {
			break
		}
		victims = append(victims, v)
	}
	return victims
}

// remove removes a connection if the budget counts it. The caller holds mu.
func (b *Budget) remove(c *Conn) {
	if c.gone {
		return
	}
	c.gone = true
	switch client := c.client.Load(); {
	case c.listener == nil:
		b.outgoing--
	case client == nil:
		b.removeUnauthenticated(c)
	default:
		b.removeKnown(c, client)
	}
}

func (b *Budget) removeUnauthenticated(c *Conn) {
	c.listener.unauthenticated.Remove(c.place)
	c.place = nil
	b.unauthenticated--
}

func (b *Budget) removeKnown(c *Conn, client *client) {
	delete(b.known, c)
	if client.class == Guest {
		b.guests--
	}
	switch b.clients[client.name]--; b.clients[client.name] {
	case fairShare:
		b.overFairShare--
	case 0:
		delete(b.clients, client.name)
	}
}

// authenticated assigns a connection to a client. The caller holds mu.
func (b *Budget) authenticated(c *Conn, to *client) {
	if c.gone {
		return
	}
	if was := c.client.Load(); was == nil {
		b.removeUnauthenticated(c)
	} else {
		b.removeKnown(c, was)
	}
	b.known[c] = struct{}{}
	if b.clients[to.name]++; b.clients[to.name] == fairShare+1 {
		b.overFairShare++
	}
	if to.class == Guest {
		b.guests++
	}
	c.client.Store(to)
}
