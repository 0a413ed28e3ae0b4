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
	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/logqueue"
	"github.com/kubembed/kubembed/internal/served"
)

// Controllers are upstream's controllers as one component of a control plane.
// They may be run again after they have stopped, and by several control planes
// at once.
type Controllers struct{ config Config }

// New returns controllers that do as config says. It copies config. What is
// wrong with it is reported by Validate, and by Run.
func New(config Config) *Controllers { return &Controllers{config.clone()} }

// Name is how control planes call the component: "controllers".
func (c *Controllers) Name() string { return "controllers" }

// Validate is [Config.Validate] of what New was given.
func (c *Controllers) Validate() error { return c.config.Validate() }

// Run runs the controllers against the control plane that config leads to until
// ctx ends, and returns when everything that it has started has ended. It calls
// ready when the controllers have seen what is there and begin to work. A
// controller of resources that the control plane does not serve is left out, unless
// Config.Controllers has its name, and so is one whose feature gate is off, with a
// warning if it is named.
//
// It returns an error at once for a Config that is not valid, for controllers that
// cannot be made, for one that Config.Controllers names and whose resources are not
// served, and where none can run for that reason. If ctx ends before ready was called, the
// error says which kinds of objects could not be read; after that, what did not
// end. If one of the controllers panics, all end, and the error names it.
// Otherwise it is nil.
func (c *Controllers) Run(ctx context.Context, config *rest.Config, ready func()) (err error) {
	settings, chosen, err := c.config.resolve()
	if err != nil {
		return err
	}
	logger, done := logqueue.Ensured(logging.Own(ctx, c.config.Logger), &err)
	defer done()
	r := &run{settings: settings, logger: logger, stopTimeout: stopTimeout, running: map[string]bool{}}
	if err := r.run(ctx, config, chosen, ready); err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	return nil
}

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

// build makes the controllers that can work here. With an error it returns those
// that it has made.
func (r *run) build(ctx context.Context, e *environment, chosen []controller) (map[string]func(context.Context), error) {
	client, err := e.client("controller-discovery")
	if err != nil {
		return nil, err
	}
	present, err := served.By(client.Discovery())
	if err != nil {
		return nil, err
	}
	e.present = present
	loops := map[string]func(context.Context){}
	var lacking []string
	for _, c := range chosen {
		if gate, off := c.gated(); off {
			say := r.logger.Debug
			if c.named {
				say = r.logger.Warn
			}
			say("a controller is left out: its feature gate is off", zap.String("controller", c.name), zap.String("gate", gate))
			continue
		}
		if missing := c.missing(present); len(missing) > 0 {
			if c.named {
				return loops, fmt.Errorf("Config.Controllers: %w", &served.MissingError{Needs: c.name, Resources: missing})
			}
			r.logger.Warn("a controller is left out: the control plane does not serve what it works on",
				zap.String("controller", c.name), zap.Strings("missing", missing))
			lacking = append(lacking, missing...)
			continue
		}
		loop, err := containment.Call(c.name, func() (func(context.Context), error) { return c.build(named(ctx, c.name), e) })
		if err != nil {
			return loops, fmt.Errorf("%s: %w", c.name, err)
		}
		loops[c.name] = loop
	}
	if len(loops) == 0 && len(lacking) > 0 {
		slices.Sort(lacking)
		return loops, fmt.Errorf("Config.Controllers: %w", &served.MissingError{Needs: "every one of them", Resources: slices.Compact(lacking)})
	}
	return loops, nil
}

// missing returns the resources without which the controller cannot work, and which the control
// plane does not serve.
func (c controller) missing(present served.Resources) []string {
	missing := present.Missing(c.caches()...)
	if none := present.Missing(c.oneOf...); len(none) > 0 && len(none) == len(c.oneOf) {
		missing = append(missing, c.oneOf[0])
	}
	return missing
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
