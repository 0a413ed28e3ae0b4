package connlimit

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// reserve is how many descriptors are left for files: etcd's log and database,
	// snapshots, audit logs, and files of the host.
	reserve = 200
	// minCapacity is how many connections there may be however little is left.
	minCapacity = 8
	// maxUnknown bounds connections of clients that are not authenticated, or may do
	// little, where the system has no tight limit: each costs some 25 KiB.
	maxUnknown = 8192
	// grace is how long a connection may take to authenticate before a newer one
	// takes its place. Further ones wait in the system's queue, which has no descriptors.
	grace = 250 * time.Millisecond
	// silentGrace is how long it may take to send the first byte, which those of real
	// clients have sent when they are accepted, or nearly so.
	silentGrace = 50 * time.Millisecond
	// fairShare is how many connections of a client are as good as those of others.
	fairShare = 16
	// pause bounds how long a listener waits before it looks again.
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
	unauthenticated int                // connections that are not authenticated, of all listeners
	known           map[*Conn]struct{} // connections that are
	guests          int                // of known
	clients         map[string]int     // connections of known by client
	overFairShare   int                // clients with more than fair
	outgoing        int
	size            size
	measured        time.Time
	timer           *time.Timer // nil while there is nothing to look after
	closed          map[Closed]uint64
}

// New returns a budget of its own, measured against this process.
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
	others   int // of them, not connections of the budget
	capacity int // connections
}

// total is how many connections there are. The caller holds mu.
func (b *Budget) total() int { return b.unauthenticated + len(b.known) + b.outgoing }

// fits reports whether there is room for n more. The caller holds mu.
func (b *Budget) fits(n int) bool {
	return b.total()+n <= b.size.capacity && b.unauthenticated+b.guests+n <= maxUnknown
}

// newcomers is the part of the budget for connections that are not authenticated, of
// which clients that are cannot take anything. The caller holds mu.
func (b *Budget) newcomers() int { return max(minCapacity/2, b.size.capacity/8) }

// spare is the part of which guests, and clients that have more than their fair share,
// cannot take anything. The caller holds mu.
func (b *Budget) spare() int { return b.size.capacity / 2 }

// admit makes room for a connection that was accepted. It returns nil where there is
// none, and the connection is closed.
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

// Dial counts the connection that dial makes, for as long as it is open. Where there
// is no room for it, dial is not called, and the error is [ErrExhausted].
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
		// Half: clients that open connections through the server must not keep
		// others from connecting to it.
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

// relieve closes excess connections after accept has failed, and reports whether
// accept is worth another try.
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

// excess takes out connections until the rest fits. The caller holds mu, and closes
// them.
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

// remove forgets a connection and reports whether it was known. The caller holds mu.
func (b *Budget) remove(c *Conn) bool {
	if c.gone {
		return false
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
	return true
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

// authenticated makes a connection that of a client. The caller holds mu.
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
