// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"sync"
)

// Key names an object.
type Key struct{ Kind, Namespace, Name string }

func (k Key) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// State is the state of an object. The zero value is an object that does not exist.
type State struct {
	Stamp   int64  // of the last write
	Version uint64 // its resource version
	UID     string
}

// write is a write that took effect. The version of a deletion is zero until a watch
// has seen it. Until then, atMost is the version of the list that lacked the object.
type write struct {
	stamp           int64 // zero deletes
	version, atMost uint64
}

// object is the knowledge about one object.
type object struct {
	state   State
	pending *int64 // stamp of the write in flight; zero deletes
	writes  []write
	// acknowledged reports whether state comes from an answer, not from a read.
	acknowledged bool
}

// Log records the writes of writers. Its methods may be called concurrently.
type Log struct {
	mu      sync.Mutex
	objects map[Key]*object
	stamps  map[int64]Key
	highest uint64 // resource version in an answer or event
	acks    int
	found   []string
}

// New returns an empty Log.
func New() *Log {
	return &Log{objects: map[Key]*object{}, stamps: map[int64]Key{}}
}

// Begin records that a write of the object is about to start. A stamp of zero deletes.
// It returns a version that the answer's version must exceed.
func (l *Log) Begin(key Key, stamp int64) (above uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.objects[key]
	if o == nil {
		o = &object{}
		l.objects[key] = o
	}
	if o.pending != nil {
		l.report("%s: the test itself is wrong: two writes in flight", key)
	}
	o.pending = &stamp
	if stamp != 0 {
		l.stamps[stamp] = key
	}
	return l.highest
}

// Acknowledged records the success of the write in flight, with the version and UID in
// the answer. The values of a deletion are ignored.
func (l *Log) Acknowledged(key Key, above, version uint64, uid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.objects[key]
	l.acks++
	stamp := *o.pending
	if stamp == 0 {
		o.settle(State{}, true)
		return
	}
	if version <= above {
		l.report("%s: written at version %d after version %d had been told", key, version, above)
	}
	if o.state.UID != "" && o.state.UID != uid {
		l.report("%s: an update made UID %s of %s", key, uid, o.state.UID)
	}
	o.settle(State{stamp, version, uid}, true)
	l.highest = max(l.highest, version)
}

// Refused records that the server refused the write in flight.
func (l *Log) Refused(key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.objects[key].pending = nil
}

// Told records a resource version in an answer or event.
func (l *Log) Told(version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.highest = max(l.highest, version)
}

// State returns the last known state of the object.
func (l *Log) State(key Key) State {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.objects[key]; o != nil {
		return o.state
	}
	return State{}
}

// Acks returns the number of acknowledged writes.
func (l *Log) Acks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

// Found returns the findings so far.
func (l *Log) Found() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.found...)
}

func (l *Log) report(format string, args ...any) {
	l.found = append(l.found, fmt.Sprintf(format, args...))
}

// settle completes the write in flight with a state that took effect.
func (o *object) settle(state State, acknowledged bool) {
	o.state, o.pending, o.acknowledged = state, nil, acknowledged
	o.writes = append(o.writes, write{stamp: state.Stamp, version: state.Version})
}
