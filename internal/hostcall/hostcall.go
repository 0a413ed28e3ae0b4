// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package hostcall calls functions of the host program that may panic, end their
// goroutine, or never return, and answers the requests for which they do.
package hostcall

import (
	"runtime/debug"
	"sync/atomic"
)

// Max is the number of calls in one Calls that may be running.
const Max = 10_000

// Calls bounds the goroutines of a function that does not return. Its zero value is
// ready. It is safe for concurrent use.
type Calls struct{ running atomic.Int64 }

// Running returns the number of calls that have not ended.
func (c *Calls) Running() int64 { return c.running.Load() }

func (c *Calls) begin() bool {
	if c.running.Add(1) > Max {
		c.running.Add(-1)
		return false
	}
	return true
}

func (c *Calls) end() { c.running.Add(-1) }

// Result is the end of a call.
type Result[T any] struct {
	Value T
	// Exit is nil if the function has returned.
	Exit *Exit
}

// Exit is the end of a function that does not return.
type Exit struct {
	Panic any // nil for runtime.Goexit
	Stack []byte
}

// Go calls f, and then ended, in a goroutine of its own: nothing else can leave code that
// blocks. It reports false, without a call, if Max calls are running. Calls that cannot
// come often have Calls of their own.
func Go[T any](calls *Calls, f func() T, ended func(Result[T])) bool {
	if !calls.begin() {
		return false
	}
	go func() {
		defer calls.end()
		result := Result[T]{Exit: &Exit{}}
		defer func() {
			if value := recover(); value != nil {
				result.Exit.Panic = value
			}
			if result.Exit != nil {
				result.Exit.Stack = debug.Stack()
			}
			ended(result)
		}()
		result = Result[T]{Value: f()}
	}()
	return true
}
