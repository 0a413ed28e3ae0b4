// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// running are the control planes that start or run. When a test panics, package testing
// runs only the cleanups of that test and ends the process.
var running = struct {
	sync.Mutex
	planes map[*plane]starting
	dying  bool
}{planes: map[*plane]starting{}}

// starting is a start, possibly completed.
type starting struct {
	cancel context.CancelFunc
	over   chan struct{}
}

// register records a start. Call over when the start has returned.
func (p *plane) register(cancel context.CancelFunc) (over func(), err error) {
	running.Lock()
	defer running.Unlock()
	if running.dying {
		return nil, errors.New("another test has panicked: the test binary is about to exit")
	}
	done := make(chan struct{})
	running.planes[p] = starting{cancel, done}
	return func() { close(done) }, nil
}

func (p *plane) unregister() {
	running.Lock()
	defer running.Unlock()
	delete(running.planes, p)
}

// stopAll stops all control planes, so that a process that is about to exit leaves no
// directories behind.
func stopAll() {
	var stops lifecycle.Group
	running.Lock()
	running.dying = true
	for p, start := range running.planes {
		stops.Go(func() {
			start.cancel()
			<-start.over
			_ = p.stop()
		})
	}
	running.Unlock()
	_ = stops.Wait(context.Background()) // which has no end
}

// panicking reports whether package testing has called the current cleanup because the
// test panicked. It ends the process afterwards.
func panicking() bool {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	var last string
	for {
		frame, more := frames.Next()
		switch frame.Function {
		case "runtime.gopanic":
			return strings.HasPrefix(last, "testing.")
		case "runtime.Goexit": // FailNow, after a recovered panic
			return false
		}
		if !more {
			return false
		}
		last = frame.Function
	}
}
