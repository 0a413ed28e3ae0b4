// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// state is the state of one object.
type state struct {
	exists bool
	value  string
	// version is the resource version, or 0 after a write whose answer is missing.
	version uint64
	// floor is the highest version that the object has had: the next version is higher.
	floor uint64
}

func (s state) String() string {
	switch {
	case !s.exists:
		return fmt.Sprintf("none, was at %d", s.floor)
	case s.version == 0:
		return fmt.Sprintf("%s, above %d", s.value, s.floor)
	}
	return fmt.Sprintf("%s@%d", s.value, s.version)
}

// has reports whether the object can have this version.
func (s state) has(version uint64) bool {
	return s.exists && (s.version == version || s.version == 0 && version > s.floor)
}

// written returns the state after a write. Version is 0 if no answer had it.
func (s state) written(value string, version uint64) state {
	floor := max(s.floor, s.version)
	return state{exists: true, value: value, version: version, floor: max(floor, version)}
}

func (s state) deleted() state { return state{floor: max(s.floor, s.version)} }

// step reports whether a sequential server could have given this answer, and returns
// the next state.
func (s state) step(c Call) (bool, state) {
	if c.Outcome == Unknown {
		return true, s.perhaps(c)
	}
	switch c.Op {
	case Create:
		if c.Outcome == Exists {
			return s.exists, s
		}
		return c.Outcome == OK && !s.exists && above(c.Version, s.floor), s.written(c.Value, c.Version)
	case Get:
		if c.Outcome == NotFound {
			return !s.exists, s
		}
		// The answer reveals the version of a write without an answer.
		return c.Outcome == OK && s.has(c.Version) && s.value == c.Read, s.written(s.value, c.Version)
	case Update:
		switch c.Outcome {
		case NotFound:
			return !s.exists, s
		case Conflict:
			return s.exists && s.version != c.Expect, s
		}
		return c.Outcome == OK && s.has(c.Expect) && above(c.Version, max(s.floor, c.Expect)), s.written(c.Value, c.Version)
	case Delete:
		switch c.Outcome {
		case NotFound:
			return !s.exists, s
		case Conflict:
			return s.exists && c.Expect != 0 && s.version != c.Expect, s
		}
		return c.Outcome == OK && s.exists && (c.Expect == 0 || s.has(c.Expect)), s.deleted()
	}
	return false, s
}

// above reports whether a write can have returned this version. 0 is none.
func above(version, floor uint64) bool { return version == 0 || version > floor }

// perhaps returns the state after a call without an answer that takes effect now. A
// call that never takes effect needs no case: it takes effect at the end, when no call
// reads it.
func (s state) perhaps(c Call) state {
	switch {
	case c.Op == Create && !s.exists, c.Op == Update && s.has(c.Expect):
		return s.written(c.Value, 0)
	case c.Op == Delete && s.exists && (c.Expect == 0 || s.has(c.Expect)):
		return s.deleted()
	}
	return s
}

// model models the calls of one object.
var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, input, _ any) (bool, any) {
		ok, next := s.(state).step(input.(Call))
		return ok, next
	},
	DescribeOperation: func(input, _ any) string { return input.(Call).String() },
	DescribeState:     func(s any) string { return s.(state).String() },
}
