package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"

	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// run is one call of Run.
type run struct {
	settings *kubectrlmgrconfig.KubeControllerManagerConfiguration
	logger   *zap.Logger
	// stopTimeout is how long a stop may take.
	stopTimeout time.Duration

	mu      sync.Mutex
	running map[string]bool // by name
}

// run runs chosen until ctx ends, and returns when all that it has started has
// ended, or the time for that is over.
func (r *run) run(ctx context.Context, config *rest.Config, chosen []controller, ready func()) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	family := lifecycle.NewGoroutineSet()
	forget := containment.Do(ctx, cancel, func(ctx context.Context) {
		family.Do(ctx, func() { err = r.work(ctx, cancel, config, chosen, ready) })
	})
	defer forget()
	cancel(nil)
	stopCtx, cancelStop := context.WithTimeout(context.Background(), r.stopTimeout)
	defer cancelStop()
	if stuck := r.wait(stopCtx, family); stuck != nil {
		err = errors.Join(err, fmt.Errorf("not all of it has ended: %w", stuck))
	}
	return err
}

// work has started goroutines and not waited for them when it returns.
func (r *run) work(ctx context.Context, cancel context.CancelCauseFunc, config *rest.Config, chosen []controller, ready func()) error {
	ctx = klog.NewContext(ctx, newLogger(ctx, r.logger, cancel))
	e, err := newEnvironment(ctx, r.settings, config)
	if err != nil {
		return err
	}
	loops, err := r.build(ctx, e, chosen)
	if err == nil {
		err = fill(ctx, e)
	}
	if err != nil {
		// A controller has goroutines from when it is made, and ends them when it
		// is run.
		cancel(err)
	}
	for name, loop := range loops {
		r.start(ctx, cancel, name, loop)
	}
	if err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return containment.Cause(ctx)
}

// fill reads what the controllers have caches of.
func fill(ctx context.Context, e *environment) error {
	e.informers.StartWithContext(ctx)
	synced := e.informers.WaitForCacheSyncWithContext(ctx)
	if synced.Err == nil {
		return nil
	}
	if err := containment.Cause(ctx); err != nil {
		return err
	}
	return fmt.Errorf("not read yet: %s: %w", unread(synced.Synced), synced.Err)
}

// start runs a controller in a goroutine.
func (r *run) start(ctx context.Context, fail context.CancelCauseFunc, name string, loop func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[name] = true
	go func() {
		_, err := containment.Call(name, func() (struct{}, error) {
			loop(named(ctx, name))
			return struct{}{}, nil
		})
		switch {
		case err != nil:
			fail(err)
		case ctx.Err() == nil:
			r.logger.Warn("a controller has ended by itself", zap.String("controller", name))
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, name)
	}()
}

// named makes a controller's name part of what it logs.
func named(ctx context.Context, name string) context.Context {
	return klog.NewContext(ctx, klog.LoggerWithName(klog.FromContext(ctx), name))
}

// unread are the kinds whose caches are not filled.
func unread(synced map[reflect.Type]bool) string {
	var kinds []string
	for kind, done := range synced {
		if !done {
			kinds = append(kinds, strings.TrimPrefix(kind.String(), "*"))
		}
	}
	slices.Sort(kinds)
	return strings.Join(kinds, ", ")
}

// stopTimeout is how long a stop waits, as long as kube-controller-manager. The
// controllers have been told to stop, and end within milliseconds.
const stopTimeout = 10 * time.Second

// wait returns when the goroutines of a run have ended.
func (r *run) wait(ctx context.Context, family *lifecycle.GoroutineSet) error {
	err := family.Wait(ctx)
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if names := slices.Sorted(maps.Keys(r.running)); len(names) > 0 {
		err = fmt.Errorf("%s: %w", strings.Join(names, ", "), err)
	}
	return err
}
