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

// Scheduler is kube-scheduler as a component of a control plane. It may be run
// again after it has stopped, and by several control planes at once.
type Scheduler struct{ config Config }

// New returns a scheduler that does as config says. It copies config. What is
// wrong with it is reported by Validate, and by Run.
func New(config Config) *Scheduler { return &Scheduler{config.clone()} }

// Name is how control planes call the component: "scheduler".
func (s *Scheduler) Name() string { return "scheduler" }

// Validate is [Config.Validate] of what New was given.
func (s *Scheduler) Validate() error { return s.config.Validate() }

// Run schedules the pods of the control plane that config leads to until ctx
// ends, and returns when everything that it has started has ended, but for what
// the package documentation names. It calls ready when it has seen what is
// there: nodes, pods, volumes.
//
// It returns an error at once for a Config that is not valid, for profiles that
// cannot be made, and where the control plane does not serve a resource that the
// scheduler reads (RuntimeConfig). If ctx ends before ready was called, the error says which
// kinds of objects could not be read; after that, what did not end. Otherwise
// it is nil.
func (s *Scheduler) Run(ctx context.Context, config *rest.Config, ready func()) (err error) {
	if err := s.Validate(); err != nil {
		return err
	}
	logger, done := logqueue.Ensured(logging.Own(ctx, s.config.Logger), &err)
	defer done()
	var sched *upstream.Scheduler
	family := lifecycle.NewGoroutineSet()
	family.Do(ctx, func() { sched, err = s.run(ctx, config, logger, ready) })
	if err != nil {
		err = fmt.Errorf("scheduler: %w", err)
	}
	if stuck := s.wait(family, sched); stuck != nil {
		err = errors.Join(err, fmt.Errorf("scheduler: not all of it has ended: %w", stuck))
	}
	return err
}

// run has started goroutines and not waited for them when it returns. What it
// has made of the scheduler is returned with an error too.
func (s *Scheduler) run(ctx context.Context, config *rest.Config, logger *zap.Logger, ready func()) (*upstream.Scheduler, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx = klog.NewContext(ctx, newLogger(ctx, logger, func() { cancel(errCacheCorrupted) }))

	p, err := newParts(ctx, config)
	if err != nil {
		return nil, err
	}
	defer p.events.Shutdown()
	sched, err := s.newScheduler(ctx, p)
	if err != nil {
		return nil, err
	}
	p.events.StartRecordingToSink(ctx.Done())
	if err := p.sync(ctx, sched); err != nil {
		return sched, err
	}
	// What is left is to start a loop.
	ready()
	sched.Run(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errCacheCorrupted) {
		return sched, cause
	}
	return sched, nil
}

// stragglersTimeout is how long a stop waits for upstream's goroutines. They
// have been told to stop, and end within milliseconds, save plugins and
// extenders that do not.
const stragglersTimeout = 5 * time.Second

// wait returns when the goroutines of a run have ended.
func (s *Scheduler) wait(family *lifecycle.GoroutineSet, sched *upstream.Scheduler) error {
	ctx, cancel := context.WithTimeout(context.Background(), stragglersTimeout)
	defer cancel()
	now, cancelNow := context.WithCancel(ctx)
	cancelNow()
	var running error
	_ = lifecycle.Poll(ctx, func() bool {
		reject(sched)
		running = family.Wait(now)
		return running == nil
	})
	return running
}

// reject ends the wait of pods for a Permit plugin, which upstream leaves to
// the plugin's timeout. Nothing is written about the pod: its context has ended.
func reject(sched *upstream.Scheduler) {
	if sched == nil {
		return
	}
	for _, profile := range sched.Profiles {
		profile.IterateOverWaitingPods(func(pod fwk.WaitingPod) { pod.Reject("", "the scheduler stops") })
	}
}

// clientConfig is a copy for clients of built-in types.
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
