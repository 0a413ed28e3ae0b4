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
	var errs []error
	var hooks chan error
	var hung error // of the hooks
	if s.generic != nil {
		s.generic.settled.Store(false)
	}
	if s.aggregator != nil && !s.hooksStarted && s.etcdAnswers() {
		// Upstream's queues and authorizers begin in New, and end only with
		// the hooks that run them.
		runCtx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		errs = append(errs, lifecycle.Within(stopTimeout, "apiserver: start hooks", func() error { return s.run(runCtx) }))
		cancel()
	}
	if s.hooksStarted && s.etcdAnswers() {
		// It asks through handlers, which may hang where the audit log's disk does.
		errs = append(errs, lifecycle.Within(hooksTimeout+time.Second, "apiserver: start hooks", s.waitHooks))
		hooks = make(chan error, 1)
		hung = lifecycle.Within(stopTimeout, "apiserver: shutdown hooks", func() error {
			err := s.aggregator.GenericAPIServer.RunPreShutdownHooks()
			if err != nil {
				err = fmt.Errorf("apiserver: shutdown hooks: %w", err)
			}
			hooks <- err
			return err
		})
		s.stopping.Store(true)
		s.drain(ctx)
	}
	s.stopping.Store(true)
	s.cancel()
	if hung != nil {
		// That of the identity's Lease waits as long as the Lease cannot be written, as
		// where etcd has no room, and ends with the context.
		late := time.NewTimer(leastTimeout)
		defer late.Stop()
		select {
		case err := <-hooks:
			errs = append(errs, err)
		case <-late.C:
			errs = append(errs, hung)
		}
	}
	for _, server := range s.serving {
		errs = append(errs, server.Close())
	}
	if s.generic != nil {
		s.generic.dialer.Close()
	}
	stopCtx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if s.transport != nil {
		if err := s.transport.Shutdown(stopCtx); err != nil {
			errs = append(errs, fmt.Errorf("apiserver: requests: %w%s", err, s.hangHint()))
		}
	} else if err := s.requests.Wait(stopCtx); err != nil {
		errs = append(errs, fmt.Errorf("apiserver: requests: %w%s", err, s.hangHint()))
	}
	if s.generic != nil {
		if err := s.generic.admissions.Wait(stopCtx); err != nil {
			errs = append(errs, fmt.Errorf("apiserver: admission: %w", err))
		}
	}
	close(s.drained)
	if err := s.background.Wait(stopCtx); err != nil {
		errs = append(errs, fmt.Errorf("apiserver: controllers: %w", err))
	}
	// None of these takes a context, and all of them may wait for a disk that hangs.
	end := func(what string, f func()) {
		deadline, _ := stopCtx.Deadline()
		errs = append(errs, lifecycle.Within(max(leastTimeout, time.Until(deadline)), "apiserver: "+what, func() error { f(); return nil }))
	}
	if s.generic != nil {
		end("informers", s.generic.informers.Shutdown)
	}
	s.config.informerName.Release()
	if s.webhooks != nil {
		s.webhooks.CloseIdleConnections()
	}
	end("storage", s.destroy)
	if s.auditStarted {
		end("audit log", s.aggregator.GenericAPIServer.AuditBackend.Shutdown)
	}
	if s.backend != nil {
		end("connections to etcd", s.backend.Close)
	}
	return errors.Join(errs...)
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
