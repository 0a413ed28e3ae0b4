// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// recorder is a TB that records calls, for failures that must not fail the real test.
// Its zero value is called TestRecorded.
type recorder struct {
	name string

	mu       sync.Mutex
	failed   bool
	messages []string // of Logf, Errorf and Fatalf
	panicked any      // what f or a cleanup panicked with

	cleanups    []func()
	directories []string
}

var _ controlplanetest.TB = (*recorder)(nil)

// run runs f and then its cleanups, last first, like a test, and waits for them. It may
// be called again, as another test.
func (r *recorder) run(f func(t controlplanetest.TB)) {
	r.call(func() { f(r) })
	for {
		r.mu.Lock()
		last := len(r.cleanups) - 1
		if last < 0 {
			r.mu.Unlock()
			break
		}
		cleanup := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		r.mu.Unlock()
		r.call(cleanup)
	}
	for _, directory := range r.directories {
		_ = os.RemoveAll(directory)
	}
	r.directories = nil
}

// call runs f in a goroutine, which Fatalf ends.
func (r *recorder) call(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				r.mu.Lock()
				r.panicked, r.failed = v, true
				r.mu.Unlock()
			}
		}()
		f()
	}()
	<-done
}

// text returns all messages of the test.
func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.messages, "\n")
}

func (r *recorder) say(fail bool, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || fail
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}

func (r *recorder) Helper() {}

func (r *recorder) Name() string {
	if r.name == "" {
		return "TestRecorded"
	}
	return r.name
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Logf(format string, args ...any)   { r.say(false, format, args...) }
func (r *recorder) Errorf(format string, args ...any) { r.say(true, format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.say(true, format, args...)
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) TempDir() string {
	directory, err := os.MkdirTemp("", "recorded-*")
	if err != nil {
		r.Fatalf("%v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.directories = append(slices.Clip(r.directories), directory)
	return directory
}
