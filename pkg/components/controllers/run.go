// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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
	settings    *kubectrlmgrconfig.KubeControllerManagerConfiguration
	logger      *zap.Logger
	stopTimeout time.Duration

	mu      sync.Mutex
	running map[string]bool // by name
}

// run runs the selected controllers until ctx ends. It returns when all goroutines have
// ended, or after stopTimeout.
func (r *run) run(ctx context.Context, config *rest.Config, selected []controller, ready func()) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	goroutines := lifecycle.NewGoroutineSet()
	forget := containment.Do(ctx, cancel, func(ctx context.Context) {
		goroutines.Do(ctx, func() { err = r.work(ctx, cancel, config, selected, ready) })
	})
	defer forget()
	cancel(nil)
	stopCtx, cancelStop := context.WithTimeout(context.Background(), r.stopTimeout)
	defer cancelStop()
	if running := r.wait(stopCtx, goroutines); running != nil {
		err = errors.Join(err, fmt.Errorf("stopped, but goroutines are still running: %w", running))
	}
	return err
}

// work creates and runs the controllers. It does not wait for the goroutines that it
// starts.
func (r *run) work(ctx context.Context, cancel context.CancelCauseFunc, config *rest.Config, selected []controller, ready func()) error {
	ctx = klog.NewContext(ctx, newLogger(ctx, r.logger, cancel))
	e, err := newEnvironment(ctx, r.settings, config)
	if err != nil {
		return err
	}
	loops, err := r.build(ctx, e, selected)
	if err == nil {
		err = syncCaches(ctx, e)
	}
	if err != nil {
		// A controller starts goroutines when it is created, and stops them when it is
		// run with an ended context.
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

// syncCaches starts the informers and waits until they have synced.
func syncCaches(ctx context.Context, e *environment) error {
	e.informers.StartWithContext(ctx)
	synced := e.informers.WaitForCacheSyncWithContext(ctx)
	if synced.Err == nil {
		return nil
	}
	if err := containment.Cause(ctx); err != nil {
		return err
	}
	return fmt.Errorf("caches not synced: %s: %w", unsynced(synced.Synced), synced.Err)
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
			r.logger.Warn("a controller has returned before the stop", zap.String("controller", name))
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, name)
	}()
}

// named adds the name of a controller to its log.
func named(ctx context.Context, name string) context.Context {
	return klog.NewContext(ctx, klog.LoggerWithName(klog.FromContext(ctx), name))
}

// unsynced returns the kinds whose caches have not synced.
func unsynced(synced map[reflect.Type]bool) string {
	var kinds []string
	for kind, done := range synced {
		if !done {
			kinds = append(kinds, strings.TrimPrefix(kind.String(), "*"))
		}
	}
	slices.Sort(kinds)
	return strings.Join(kinds, ", ")
}

// stopTimeout bounds the wait for the controllers to stop, as in kube-controller-manager.
// They stop within milliseconds.
const stopTimeout = 10 * time.Second

// wait waits for the goroutines of a run. Its error names the controllers that are still
// running.
func (r *run) wait(ctx context.Context, goroutines *lifecycle.GoroutineSet) error {
	err := goroutines.Wait(ctx)
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
