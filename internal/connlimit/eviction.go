// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"cmp"
	"time"
)

// victim removes a connection from the budget, for the caller to close. If allowGrace, an
// unauthenticated connection keeps its time to authenticate, and wait is the rest of it.
// If both results are zero, every connection must stay. The caller holds mu.
func (b *Budget) victim(now time.Time, allowGrace bool) (v *Conn, wait time.Duration) {
	anyClient := b.unauthenticated <= b.newcomers()
	if anyClient || b.unauthenticated <= b.spare() && b.guests+b.overFairShare > 0 {
		if v, why := b.authenticatedVictim(anyClient); v != nil {
			b.take(v, why)
			return v, 0
		}
	}
	// From the listener with the most: a flood of one does not keep clients from another.
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

// unauthenticatedVictim returns the oldest connection of a listener whose grace has
// ended, or the time until there is one.
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

// Order in which connections of clients are closed.
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
	age  int64 // larger is closed sooner
}

// authenticatedVictim returns the least valuable authenticated connection, or nil.
// Candidates are the connections of any client, or only of guests and clients above their
// fair share. It visits all of them.
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
			// The newest: connections that have been busy for long are kept.
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

// compare returns a negative number if a is closed before b.
func compare(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.many, a.many), cmp.Compare(b.age, a.age))
}
