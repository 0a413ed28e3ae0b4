package history

import (
	"fmt"
	"sync"
	"time"
)

// Op is what is asked for.
type Op string

const (
	// Create makes an object that is not there.
	Create Op = "create"
	// Get reads what is there now. A list is a Get of all its objects.
	Get Op = "get"
	// Update replaces an object that has the version Call.Expect.
	Update Op = "update"
	// Delete deletes an object, where Call.Expect is set only that version.
	Delete Op = "delete"
)

// Outcome is the answer.
type Outcome string

const (
	// OK is success.
	OK Outcome = "ok"
	// Exists is the answer to a Create of what is there.
	Exists Outcome = "exists"
	// NotFound says that there is none.
	NotFound Outcome = "not found"
	// Conflict says that it is not the version expected.
	Conflict Outcome = "conflict"
	// Unknown is no answer, or one that does not tell what was done.
	Unknown Outcome = "unknown"
)

// Call is one call of one object.
type Call struct {
	Client int
	// Member is whom was asked, for the reader.
	Member string
	Key    string
	Op     Op
	// Value is what a Create or Update writes. Each has another.
	Value string
	// Expect is the resource version that an Update or Delete is for.
	Expect uint64
	// Start and End are times since the Log began.
	Start, End time.Duration

	Outcome Outcome
	// Read is what a Get has found.
	Read string
	// Version is the resource version in the answer to a Create, Get or Update. A
	// write may be without.
	Version uint64
}

func (c Call) writes() bool { return c.Op != Get }

func (c Call) String() string {
	s := fmt.Sprintf("%s %s", c.Op, c.Key)
	if c.Value != "" {
		s += "=" + c.Value
	}
	if c.Expect != 0 {
		s += fmt.Sprintf(" of %d", c.Expect)
	}
	s += fmt.Sprintf(" (%s): %s", c.Member, c.Outcome)
	if c.Outcome == OK && c.Op == Get {
		s += " " + c.Read
	}
	if c.Version != 0 {
		s += fmt.Sprintf("@%d", c.Version)
	}
	return s
}

// List is one list of objects, at one resource version.
type List struct {
	Member     string
	Start, End time.Duration
	Version    uint64
}

// Log takes down calls. It may be used concurrently.
type Log struct {
	began time.Time

	mu    sync.Mutex
	calls []Call
	lists []List
}

// NewLog begins a history.
func NewLog() *Log { return &Log{began: time.Now()} }

// Now is the time of this history, for Call.Start and Call.End.
func (l *Log) Now() time.Duration { return time.Since(l.began) }

// Add takes down calls that are over.
func (l *Log) Add(calls ...Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, calls...)
}

// AddList takes down a list. What it shows of each object is added by Add.
func (l *Log) AddList(list List) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lists = append(l.lists, list)
}

// Calls returns what was taken down so far.
func (l *Log) Calls() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Call(nil), l.calls...)
}

// Lists returns the lists so far.
func (l *Log) Lists() []List {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]List(nil), l.lists...)
}
