// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	upstream "k8s.io/kubernetes/pkg/scheduler"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/logqueue"
)

// Scheduler is kube-scheduler as a component of a control plane. It can run again
// after it has stopped, and in several control planes at once.
type Scheduler struct{ config Config }

// New returns a scheduler with a copy of config. Validate and Run report an invalid
// config.
func New(config Config) *Scheduler { return &Scheduler{config.clone()} }

// Name returns the name of the component, "scheduler".
func (s *Scheduler) Name() string { return "scheduler" }

// Validate calls [Config.Validate].
func (s *Scheduler) Validate() error { return s.config.Validate() }

// Run schedules the pods of the control plane of config until ctx ends. It calls
// ready when its caches of nodes, pods and volumes are filled. It returns when all
// that it started has ended, except for the goroutines and connections that the
// package documentation lists.
//
// Run returns an error at once if the Config is invalid, if a profile cannot be
// built, or if the control plane does not serve a resource that the scheduler reads
// (RuntimeConfig). If ctx ends before ready is called, the error lists the kinds whose
// caches are not filled. If goroutines are still running after the stop, the error
// lists them. Otherwise the error is nil.
func (s *Scheduler) Run(ctx context.Context, config *rest.Config, ready func()) (err error) {
	if err := s.Validate(); err != nil {
		return err
	}
	logger, done := logqueue.Ensured(logging.ForComponent(ctx, s.config.Logger), &err)
	defer done()
	var sched *upstream.Scheduler
	goroutines := lifecycle.NewGoroutineSet()
	goroutines.Do(ctx, func() { sched, err = s.run(ctx, config, logger, ready) })
	if err != nil {
		err = fmt.Errorf("scheduler: %w", err)
	}
	if running := s.wait(goroutines, sched); running != nil {
		err = errors.Join(err, fmt.Errorf("scheduler: stopped, but goroutines are still running: %w", running))
	}
	return err
}

// run does not wait for the goroutines that it starts. With an error it also returns
// the scheduler, if there is one.
func (s *Scheduler) run(ctx context.Context, config *rest.Config, logger *zap.Logger, ready func()) (*upstream.Scheduler, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx = klog.NewContext(ctx, newLogger(ctx, logger, func() { cancel(errCacheCorrupted) }))

	d, err := newDependencies(ctx, config)
	if err != nil {
		return nil, err
	}
	defer d.events.Shutdown()
	sched, err := s.newScheduler(ctx, d)
	if err != nil {
		return nil, err
	}
	d.events.StartRecordingToSink(ctx.Done())
	if err := d.sync(ctx, sched); err != nil {
		return sched, err
	}
	ready()
	sched.Run(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errCacheCorrupted) {
		return sched, cause
	}
	return sched, nil
}

// goroutineStopTimeout bounds the wait for upstream's goroutines after their context
// has ended. They end within milliseconds, unless a plugin or an extender blocks.
const goroutineStopTimeout = 5 * time.Second

// wait waits for the goroutines of a run. Its error lists the ones that are still
// running after goroutineStopTimeout.
func (s *Scheduler) wait(goroutines *lifecycle.GoroutineSet, sched *upstream.Scheduler) error {
	ctx, cancel := context.WithTimeout(context.Background(), goroutineStopTimeout)
	defer cancel()
	expired, cancelExpired := context.WithCancel(ctx) // Wait only looks
	cancelExpired()
	var running error
	_ = lifecycle.Poll(ctx, func() bool {
		rejectWaitingPods(sched)
		running = goroutines.Wait(expired)
		return running == nil
	})
	return running
}

// rejectWaitingPods ends the wait of pods for a Permit plugin. Upstream leaves it to the
// plugin's timeout. No status is written for the pods: their context has ended.
func rejectWaitingPods(sched *upstream.Scheduler) {
	if sched == nil {
		return
	}
	for _, profile := range sched.Profiles {
		profile.IterateOverWaitingPods(func(pod fwk.WaitingPod) { pod.Reject("", "the scheduler stops") })
	}
}

// clientConfig returns a copy of config for clients of built-in types.
func clientConfig(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return config
}

func newClient(config *rest.Config) (kubernetes.Interface, error) {
	client, err := kubernetes.NewForConfig(clientConfig(config))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return client, nil
}
