package controlplanetest

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
)

// running are the control planes that start or run, for the panic of a test: the
// process then ends with the cleanups of that test, and nobody else's.
var running = struct {
	sync.Mutex
	planes map[*plane]starting
	dying  bool
}{planes: map[*plane]starting{}}

// starting is a start, which may be over.
type starting struct {
	cancel context.CancelFunc
	over   chan struct{}
}

// register is for the begin of a start. over is to be called after it.
func (p *plane) register(cancel context.CancelFunc) (over func(), err error) {
	running.Lock()
	defer running.Unlock()
	if running.dying {
		return nil, errors.New("another test has panicked, and the test binary is about to end")
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

// stopAll stops what runs, so that a process that is about to die leaves no directory
// behind.
func stopAll() {
	var group sync.WaitGroup
	running.Lock()
	running.dying = true
	for p, start := range running.planes {
		group.Go(func() {
			start.cancel()
			<-start.over
			_ = p.stop()
		})
	}
	running.Unlock()
	group.Wait()
}

// panicking tells whether package testing has called the cleanup that asks
// because of a panic of the test, after which it ends the process.
func panicking() bool {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	var last string
	for {
		frame, more := frames.Next()
		switch frame.Function {
		case "runtime.gopanic":
			return strings.HasPrefix(last, "testing.")
		case "runtime.Goexit": // of FailNow, by whoever has recovered from a panic
			return false
		}
		if !more {
			return false
		}
		last = frame.Function
	}
}
