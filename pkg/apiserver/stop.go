package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

const (
	// stopTimeout bounds the parts of a stop that wait for others.
	stopTimeout = 10 * time.Second
	// hooksTimeout is how long a stop waits for upstream's start hooks. They
	// are done within a second of a start unless etcd is gone.
	hooksTimeout = 5 * time.Second
	// answerTimeout is how long etcd has for a question of a stop.
	answerTimeout = time.Second
	// leastTimeout is what each part of a stop gets where others have used up the time.
	leastTimeout = time.Second
)

// Stop ends the server, in this order: upstream's shutdown hooks take our
// address out of the kubernetes Service, requests in flight are answered as
// long as ctx allows (a ctx that has ended cuts them), listeners and
// connections are closed, watches with them, informers and controllers end,
// storage is released, and the audit log is written out. etcd and the files in
// Dir are the caller's. Later calls return what the first one did.
//
// Each part is bounded: where etcd's disk or that of the audit log hangs, Stop returns
// within 40 seconds after ctx has ended, with an error that names the part that has not ended.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.stopErr = s.stop(ctx) })
	return s.stopErr
}

func (s *Server) stop(ctx context.Context) error {
	if s.generic != nil {
		s.generic.started.Store(false)
	}
	var errs []error
	hung, err := s.runHooks(ctx)
	errs = append(errs, err)
	s.stopping.Store(true)
	s.cancel()
	if hung != nil {
		errs = append(errs, hung())
	}
	stopCtx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	errs = append(errs, s.serving.Unwind(stopCtx), s.resources.Unwind(stopCtx))
	return errors.Join(errs...)
}

// runHooks runs upstream's shutdown hooks, and lets requests finish as long as ctx allows.
// hung, if it is not nil, returns the error of shutdown hooks that have not returned in
// time, and is called after s.ctx has ended.
func (s *Server) runHooks(ctx context.Context) (hung func() error, err error) {
	if s.aggregator == nil {
		return nil, nil
	}
	var errs []error
	if !s.hooksStarted && s.etcdAnswers() {
		// Stop without a start. The queues and authorizers that upstream has started in
		// New end only with the hooks that run them.
		runCtx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		errs = append(errs, lifecycle.Within(stopTimeout, "apiserver: start hooks", func() error { return s.run(runCtx) }))
		cancel()
	}
	if !s.hooksStarted || !s.etcdAnswers() {
		return nil, errors.Join(errs...)
	}
	// It sends requests, which hang if the disk of the audit log does.
	errs = append(errs, lifecycle.Within(hooksTimeout+time.Second, "apiserver: start hooks", s.waitHooks))
	hooks := make(chan error, 1)
	late := lifecycle.Within(stopTimeout, "apiserver: shutdown hooks", func() error {
		err := s.aggregator.GenericAPIServer.RunPreShutdownHooks()
		if err != nil {
			err = fmt.Errorf("apiserver: shutdown hooks: %w", err)
		}
		hooks <- err
		return err
	})
	s.stopping.Store(true)
	s.drain(ctx)
	if late == nil {
		return nil, errors.Join(errs...)
	}
	return func() error {
		// The hook of the identity's Lease waits while the Lease cannot be written, as
		// when etcd has no space, and ends with s.ctx.
		timer := time.NewTimer(leastTimeout)
		defer timer.Stop()
		select {
		case err := <-hooks:
			return err
		case <-timer.C:
			return late
		}
	}, errors.Join(errs...)
}

// hangHint says why requests may not end: each is written to the audit log.
func (s *Server) hangHint() string {
	if s.config.Audit.LogPath == "" {
		return ""
	}
	return fmt.Sprintf(" (is the disk of Config.Audit.LogPath, %s, hung?)", s.config.Audit.LogPath)
}

// etcdAnswers tells whether there is any use in letting upstream clean up.
func (s *Server) etcdAnswers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	// A member whose disk hangs does not look at ctx.
	return lifecycle.Within(answerTimeout+time.Second, "etcd", func() error {
		_, err := s.backend.Client().Get(ctx, s.backend.Prefix()+"/health")
		return err
	}) == nil
}

// drain lets short requests finish. Watches and other long-running requests
// are closed, not awaited.
func (s *Server) drain(ctx context.Context) {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.generic.server.NonLongRunningRequestWaitGroup.Wait()
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		// Cutting the requests ends them, and with them the wait above.
	}
}

// waitHooks waits until upstream's start hooks have returned.
func (s *Server) waitHooks() error {
	ctx, cancel := context.WithTimeout(context.Background(), hooksTimeout)
	defer cancel()
	var hooks []string
	var redErr error
	err := lifecycle.Poll(ctx, func() bool {
		var red []string
		red, redErr = s.red()
		hooks = nil
		for _, check := range red {
			if name, ok := strings.CutPrefix(check, "poststarthook/"); ok {
				hooks = append(hooks, name)
			}
		}
		return redErr != nil || len(hooks) == 0
	})
	switch {
	case redErr != nil:
		return fmt.Errorf("apiserver: start hooks: %w", redErr)
	case err != nil:
		return fmt.Errorf("apiserver: start hooks that did not return: %s", strings.Join(hooks, ", "))
	default:
		return nil
	}
}
