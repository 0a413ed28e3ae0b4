package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

const (
	// stopTimeout bounds a stop, once requests in flight have been answered or cut.
	// Each part has a bound of its own, and all of them together rarely come near it.
	stopTimeout = 80 * time.Second
	// drainTimeout is how long a request may take where Config.RequestTimeout is zero.
	drainTimeout = time.Minute
	// electionsTimeout, filesTimeout and supervisorTimeout bound parts of a stop.
	electionsTimeout  = 5 * time.Second
	filesTimeout      = 5 * time.Second
	supervisorTimeout = 5 * time.Second
)

// stopped records the part that a stop is waiting for.
type stopped struct {
	step atomic.Value // string
}

func (s *stopped) begin(step string) { s.step.Store(step) }

// stop is unwind, once, with a bound on all that it waits for: whatever part of the
// process or disk does not answer, the host gets its goroutine back.
func (s *Server) stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		begin := time.Now()
		s.logStopping()
		err := s.unwindWithin(ctx, stopTimeout)
		s.logStopped(begin, err)
		s.stopErr = errors.Join(err, s.closeLog())
		close(s.done)
	})
	return s.stopErr
}

// unwindWithin gives up when timeout has passed after requests in flight have had
// their time.
func (s *Server) unwindWithin(ctx context.Context, timeout time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- s.unwind(ctx) }()
	requests := s.config.RequestTimeout
	if requests == 0 {
		requests = drainTimeout
	}
	drained := time.NewTimer(requests)
	defer drained.Stop()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	case <-drained.C:
	}
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case err := <-ended:
		return err
	case <-late.C:
		return fmt.Errorf("controlplane: stop: it has not ended after %s, and goes on without being waited for: it waits for %v", timeout, s.unwinding.step.Load())
	}
}

// unwind stops the parts that were started, last first. It begins with the parts that
// may take long, and waits for them last.
func (s *Server) unwind(ctx context.Context) error {
	var errs []error
	note := func(err error) bool {
		errs = append(errs, err)
		return err != nil
	}
	if s.quietKlog != nil {
		s.quietKlog()
	}
	s.fatal.ignore()
	step := s.unwinding.begin
	schedule := s.snapshots.Load()
	schedule.Stop()
	s.health.stop()
	s.unmeasure()
	// Do not wait for goroutines that have already missed their stop deadline.
	step("components")
	deaf := note(s.components.stop())
	step("controllers")
	stuck := note(s.controllers.stop())
	step("elections")
	stuck = note(lifecycle.Within(electionsTimeout, "controlplane: stop: elections", func() error { s.elections.Stop(); return nil })) || stuck
	if s.apiserver != nil {
		step("the API server")
		stuck = note(s.apiserver.Stop(ctx)) || stuck
	}
	for _, listener := range []net.Listener{s.listener, s.insecure} {
		// The API server has closed them, if it got so far.
		if listener != nil {
			_ = listener.Close()
		}
	}
	if s.etcd != nil {
		step("etcd")
		stuck = note(s.etcd.Close()) || stuck
	}
	step("the snapshot to Config.Snapshots.Dir")
	stuck = note(schedule.Wait()) || stuck
	step("files of " + s.dir)
	stuck = note(lifecycle.Within(filesTimeout, "controlplane: stop: "+s.dir+": is its disk hung?", s.removeFiles)) || stuck
	step("goroutines")
	if s.components != nil && !deaf {
		s.waitForGoroutines(s.components.family)
	}
	if !stuck {
		s.waitForGoroutines(s.family)
		if s.forget != nil { // Goroutines that are stuck are still contained.
			s.forget()
		}
	}
	s.forgetClients()
	step("the Logger")
	s.detachLogger()
	return errors.Join(errs...)
}

// removeFiles removes temporary files, and unlocks DataDir.
func (s *Server) removeFiles() (err error) {
	switch {
	case s.temporary != nil:
		err = s.temporary.Remove()
	case s.runDir != "":
		err = os.RemoveAll(s.runDir)
	}
	if s.lock != nil {
		s.lock.Unlock()
	}
	return err
}

// stragglersTimeout is how long a stop waits for upstream's goroutines. They
// have been told to stop, and end within milliseconds.
const stragglersTimeout = 5 * time.Second

// waitForGoroutines keeps the promise that nothing of a stopped control plane
// runs or logs any more: upstream's controllers can be stopped, but give no way to
// wait for them.
func (s *Server) waitForGoroutines(family *lifecycle.GoroutineSet) {
	ctx, cancel := context.WithTimeout(context.Background(), stragglersTimeout)
	defer cancel()
	if err := family.Wait(ctx); err != nil {
		s.config.Logger.Warn("stopped, but not all of it has ended", zap.Error(err))
	}
}
