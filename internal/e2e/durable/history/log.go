package history

import (
	"fmt"
	"sync"
)

// Key names an object.
type Key struct{ Kind, Namespace, Name string }

func (k Key) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// State is what an object is like. The zero value is an object that is not there.
type State struct {
	Stamp   int64  // of the write that made it so
	Version uint64 // its resource version
	UID     string
}

// write is one that has taken effect. Of a deletion the version is zero until a
// watch has seen it; atMost is then the version of the list that lacked the object.
type write struct {
	stamp           int64 // zero deletes
	version, atMost uint64
}

// object is what is known of one object.
type object struct {
	state   State
	pending *int64 // stamp of the write in flight; zero deletes
	writes  []write
	// acknowledged tells whether state is by an answer, not by a look.
	acknowledged bool
}

// Log is what writers did. Its methods may be called concurrently.
type Log struct {
	mu      sync.Mutex
	objects map[Key]*object
	stamps  map[int64]Key
	highest uint64 // resource version that anybody has been told
	acks    int
	found   []string
}

// New returns an empty Log.
func New() *Log {
	return &Log{objects: map[Key]*object{}, stamps: map[int64]Key{}}
}

// Begin takes down that a write of the object is about to be asked for. A stamp of
// zero deletes. It returns a version that the answer's must be higher than.
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

// Acknowledged takes down that the write in flight was answered with success. The
// version and UID are those of the object in the answer; of a deletion they do not
// matter.
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

// Refused takes down that the write in flight was answered with a refusal.
func (l *Log) Refused(key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.objects[key].pending = nil
}

// Told takes down a resource version that somebody was told.
func (l *Log) Told(version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.highest = max(l.highest, version)
}

// State is what the object was like when it was last known.
func (l *Log) State(key Key) State {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.objects[key]; o != nil {
		return o.state
	}
	return State{}
}

// Acks is how many writes were acknowledged.
func (l *Log) Acks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

// Found is what was found so far.
func (l *Log) Found() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.found...)
}

func (l *Log) report(format string, args ...any) {
	l.found = append(l.found, fmt.Sprintf(format, args...))
}

// settle ends what is in flight with a write that has taken effect.
func (o *object) settle(state State, acknowledged bool) {
	o.state, o.pending, o.acknowledged = state, nil, acknowledged
	o.writes = append(o.writes, write{stamp: state.Stamp, version: state.Version})
}
