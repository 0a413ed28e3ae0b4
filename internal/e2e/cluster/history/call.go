// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"sync"
	"time"
)

// Op is the operation of a call.
type Op string

const (
	// Create creates an object that does not exist.
	Create Op = "create"
	// Get reads the current object. A list is a Get of all its objects.
	Get Op = "get"
	// Update replaces an object that has the version Call.Expect.
	Update Op = "update"
	// Delete deletes an object. If Call.Expect is set, only that version.
	Delete Op = "delete"
)

// Outcome is the answer to a call.
type Outcome string

const (
	// OK is success.
	OK Outcome = "ok"
	// Exists is the answer to a Create of an existing object.
	Exists Outcome = "exists"
	// NotFound means that the object does not exist.
	NotFound Outcome = "not found"
	// Conflict means that the object has another version.
	Conflict Outcome = "conflict"
	// Unknown is no answer, or one that does not reveal the effect.
	Unknown Outcome = "unknown"
)

// Call is one call of one object.
type Call struct {
	Client int
	// Member is the member that was called, for readers.
	Member string
	Key    string
	Op     Op
	// Value is the value that a Create or Update writes. It is unique.
	Value string
	// Expect is the resource version that an Update or Delete requires.
	Expect uint64
	// Start and End are times since the Log began.
	Start, End time.Duration

	Outcome Outcome
	// Read is the value that a Get returned.
	Read string
	// Version is the resource version in the answer to a Create, Get or Update. A write
	// may have none.
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

// Log records calls. It may be used concurrently.
type Log struct {
	began time.Time

	mu    sync.Mutex
	calls []Call
	lists []List
}

// NewLog starts a history.
func NewLog() *Log { return &Log{began: time.Now()} }

// Now returns the time of this history, for Call.Start and Call.End.
func (l *Log) Now() time.Duration { return time.Since(l.began) }

// Add records completed calls.
func (l *Log) Add(calls ...Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, calls...)
}

// AddList records a list. Add records its objects.
func (l *Log) AddList(list List) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lists = append(l.lists, list)
}

// Calls returns the calls so far.
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
