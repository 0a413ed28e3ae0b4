// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

const (
	// stopTimeout bounds the parts of a stop that wait.
	stopTimeout = 10 * time.Second
	// hooksTimeout bounds the wait for upstream's start hooks. They end within a second
	// of a start unless etcd is unavailable.
	hooksTimeout = 5 * time.Second
	// etcdTimeout bounds the check of a stop that etcd answers.
	etcdTimeout = time.Second
	// hungHooksTimeout bounds the wait for shutdown hooks after the context has ended.
	hungHooksTimeout = time.Second
)

// Stop ends the server in this order:
//
//  1. Upstream's shutdown hooks remove its address from the kubernetes Service.
//  2. In-flight requests finish as long as ctx allows, and are cut when it ends.
//  3. Listeners, connections and watches are closed.
//  4. The audit log is written out.
//  5. Controllers end, storage is released, and informers end.
//
// The caller owns etcd and the files in Dir. Later calls return the result of the first
// one.
//
// Each part is bounded: if the disk of etcd or of the audit log hangs, Stop returns
// within 40 seconds after ctx has ended, with an error that names the part that is still
// running.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.stopErr = s.stop(ctx) })
	return s.stopErr
}

func (s *Server) stop(ctx context.Context) error {
	if s.state != nil {
		s.started.Store(false)
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

// runHooks runs upstream's shutdown hooks, and lets requests finish as long as ctx
// allows. hung, if it is not nil, returns the error of shutdown hooks that have not
// returned in time, and is called after s.ctx has ended.
func (s *Server) runHooks(ctx context.Context) (hung func() error, err error) {
	if s.aggregator == nil || s.prepareBegan && s.handler == nil {
		return nil, nil // the chain is incomplete, and hooks cannot send requests to it
	}
	var errs []error
	if !s.hooksStarted && s.etcdAnswers() {
		// Stop without a start. The queues and authorizers that upstream has started in
		// New end only with the hooks that run them.
		runCtx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		errs = append(errs, within(stopTimeout, "apiserver: start hooks", func() error { return s.run(runCtx) }))
		cancel()
	}
	if !s.hooksStarted || !s.etcdAnswers() {
		return nil, errors.Join(errs...)
	}
	// It sends requests, which hang if the disk of the audit log does.
	errs = append(errs, within(hooksTimeout+time.Second, "apiserver: start hooks", s.waitHooks))
	hooks := make(chan error, 1)
	timedOut := within(stopTimeout, "apiserver: shutdown hooks", func() error {
		err := s.aggregator.GenericAPIServer.RunPreShutdownHooks()
		if err != nil {
			err = fmt.Errorf("apiserver: shutdown hooks: %w", err)
		}
		hooks <- err
		return err
	})
	s.stopping.Store(true)
	s.drain(ctx)
	if timedOut == nil {
		return nil, errors.Join(errs...)
	}
	return func() error {
		// The hook of the identity's Lease waits while the Lease cannot be written, as
		// when etcd has no space, and ends with s.ctx.
		timer := time.NewTimer(hungHooksTimeout)
		defer timer.Stop()
		select {
		case err := <-hooks:
			return err
		case <-timer.C:
			return timedOut
		}
	}, errors.Join(errs...)
}

// within is lifecycle.Within, with upstream's panics and fatal errors as errors.
func within(timeout time.Duration, what string, f func() error) error {
	return lifecycle.Within(timeout, what, func() error { return contained(f) })
}

// explainHang adds a likely reason why requests do not end: each may wait for the audit.
func (s *Server) explainHang(err error) error {
	a := s.config.Audit
	switch {
	case a.Webhook.KubeconfigFile != "" && a.webhook().BatchOptions.Mode != AuditBatch:
		return fieldpath.Errorf("%w (does the webhook of %s, %s, answer?)", err, fieldpath.Name("Config.Audit.Webhook.KubeconfigFile"), a.Webhook.KubeconfigFile)
	case a.Log.Path != "" && a.log().BatchOptions.Mode != AuditBatch:
		return fieldpath.Errorf("%w (is the disk of %s, %s, hung?)", err, fieldpath.Name("Config.Audit.Log.Path"), a.Log.Path)
	}
	return err
}

// etcdAnswers reports whether etcd answers: without it upstream's hooks cannot clean up.
func (s *Server) etcdAnswers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), etcdTimeout)
	defer cancel()
	// A member whose disk hangs ignores ctx.
	return lifecycle.Within(etcdTimeout+time.Second, "etcd", func() error {
		_, err := s.backend.Client().Get(ctx, s.backend.Keyspace().Health())
		return err
	}) == nil
}

// drain waits until short requests have finished. It does not wait for watches and other
// long-running requests, which are closed.
func (s *Server) drain(ctx context.Context) {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.serverConfig.NonLongRunningRequestWaitGroup.Wait()
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		// The stop cuts the requests, which ends the wait above.
	}
}

// waitHooks waits until upstream's start hooks have returned.
func (s *Server) waitHooks() error {
	ctx, cancel := context.WithTimeout(context.Background(), hooksTimeout)
	defer cancel()
	var hooks []string
	var checkErr error
	err := lifecycle.Poll(ctx, func() bool {
		var failed []string
		failed, checkErr = s.failedChecks()
		hooks = nil
		for _, check := range failed {
			if name, ok := strings.CutPrefix(check, "poststarthook/"); ok {
				hooks = append(hooks, name)
			}
		}
		return checkErr != nil || len(hooks) == 0
	})
	switch {
	case checkErr != nil:
		return fmt.Errorf("apiserver: start hooks: %w", checkErr)
	case err != nil:
		return fmt.Errorf("apiserver: start hooks that did not return: %s", strings.Join(hooks, ", "))
	default:
		return nil
	}
}
