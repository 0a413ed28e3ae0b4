package connlimit

import (
	"cmp"
	"time"
)

// victim takes a connection out of the budget, for the caller to close. If allowGrace,
// one that is not authenticated is left its moment to do so: wait is how much of it
// is left. Nil and zero say that every connection must stay. The caller holds mu.
func (b *Budget) victim(now time.Time, allowGrace bool) (v *Conn, wait time.Duration) {
	anyClient := b.unauthenticated <= b.newcomers()
	if anyClient || b.unauthenticated <= b.spare() && b.guests+b.overFairShare > 0 {
		if v, why := b.authenticatedVictim(anyClient); v != nil {
			b.take(v, why)
			return v, 0
		}
	}
	// Of the listener that has most: a flood of one does not keep clients from another.
	var from *Listener
	for l := range b.listeners {
		if l.unauthenticated.Len() > 0 && (from == nil || l.unauthenticated.Len() > from.unauthenticated.Len()) {
			from = l
		}
	}
	if from == nil {
		return nil, 0
	}
	v, wait = b.unauthenticatedVictim(from, now)
	if v == nil && !allowGrace {
		v, wait = from.unauthenticated.Front().Value.(*Conn), 0
	}
	if v != nil {
		b.take(v, Unauthenticated)
	}
	return v, wait
}

// unauthenticatedVictim returns the oldest connection of a listener that has had its time, or how
// long it is until there is one.
func (b *Budget) unauthenticatedVictim(from *Listener, now time.Time) (v *Conn, wait time.Duration) {
	oldest := from.unauthenticated.Front()
	wait = b.grace - now.Sub(oldest.Value.(*Conn).opened)
	if wait <= 0 {
		return oldest.Value.(*Conn), 0
	}
	for e := oldest; e != nil; e = e.Next() {
		c := e.Value.(*Conn)
		if c.hasSent.Load() {
			continue
		}
		if left := b.silentGrace - now.Sub(c.opened); left > 0 {
			return nil, min(wait, left)
		}
		return c, 0
	}
	return nil, wait
}

func (b *Budget) take(v *Conn, why Client) {
	b.remove(v)
	b.count(Closed{v.listener.options.Name, why}, v.listener)
}

// The order in which connections of clients are closed.
const (
	idleGuest = iota
	busyGuest
	idleUser
	busyUser
)

// candidate is a connection with its sort keys.
type candidate struct {
	conn *Conn
	rank int
	many int   // connections of the same client
	age  int64 // the greater, the sooner
}

// authenticatedVictim returns the connection of a client that is missed least, or nil:
// of anyClient, or of guests and clients with more than their fair share. It looks at
// all of them.
func (b *Budget) authenticatedVictim(anyClient bool) (*Conn, Client) {
	var best candidate
	for c := range b.known {
		client := c.client.Load()
		next := candidate{conn: c}
		busy := c.busy.Load() > 0
		switch {
		case client.class == Peer, client.class == Admin && busy,
			!anyClient && client.class != Guest && b.clients[client.name] <= fairShare:
			continue
		case client.class == Guest && busy:
			next.rank = busyGuest
		case client.class == Guest:
			next.rank = idleGuest
		case busy:
			next.rank = busyUser
		default:
			next.rank = idleUser
		}
		if client.class != Guest {
			next.many = b.clients[client.name]
		}
		if busy {
			// The newest: connections that have worked for long are not disturbed.
			next.age = int64(c.opened.Sub(epoch))
		} else {
			next.age = -c.used.Load()
		}
		if best.conn == nil || compare(next, best) < 0 {
			best = next
		}
	}
	switch {
	case best.conn == nil:
		return nil, ""
	case best.rank <= busyGuest:
		return best.conn, Unprivileged
	case best.rank == idleUser:
		return best.conn, Idle
	default:
		return best.conn, Busy
	}
}

// compare is negative if a goes before b.
func compare(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.many, a.many), cmp.Compare(b.age, a.age))
}
