// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package callstack_test

import (
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/callstack"
)

const here = "github.com/kubembed/kubembed/internal/callstack_test."

//go:noinline
func caller(f func()) { f() }

// recurse calls f with levels frames above it.
//
//go:noinline
func recurse(levels int, f func()) {
	if levels > 0 {
		recurse(levels-1, f)
		return
	}
	f()
}

func TestHasPrefix(t *testing.T) {
	caller(func() {
		if !callstack.HasPrefix("example.com/other.", here+"caller") {
			t.Error("the caller was not found")
		}
	})
	if callstack.HasPrefix(here + "caller") {
		t.Error("got a function that has returned")
	}
	if callstack.HasPrefix() {
		t.Error("got a function without a prefix")
	}
	caller(func() {
		recurse(400, func() {
			if !callstack.HasPrefix(here + "caller") {
				t.Error("a caller 400 frames away was not found")
			}
		})
	})
}

func TestAny(t *testing.T) {
	caller(func() {
		if !callstack.Any(func(function string) bool { return strings.HasSuffix(function, "callstack_test.caller") }) {
			t.Error("the caller was not found")
		}
	})
	done := make(chan bool)
	caller(func() {
		go func() { done <- callstack.HasPrefix(here+"caller.") || callstack.HasPrefix(here+"caller(") }()
	})
	if <-done {
		t.Error("got a function of another goroutine")
	}
}
