// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/controlplane/election"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/logging"
)

// componentsTimeout bounds the wait of a stop for components.
const componentsTimeout = 10 * time.Second

// errEnded is the error of a component that returns nil too early.
var errEnded = errors.New("it returned before the control plane stopped")

// components run beside the API server.
type components struct {
	all        []*component
	logger     *zap.Logger
	goroutines *lifecycle.GoroutineSet // of their goroutines
	cancel     context.CancelFunc      // nil before start
	began      time.Time

	failOnce sync.Once
	failed   chan struct{} // closed when a component has failed
	failure  error
}

// component is a Component and its state.
type component struct {
	Component
	name         string
	config       *rest.Config
	ready, ended chan struct{}
	setReady     func()
	readyAt      time.Time // set before ready is closed
}

func newComponents(all []Component, goroutines *lifecycle.GoroutineSet, logger *zap.Logger) *components {
	c := &components{logger: logger, goroutines: goroutines, failed: make(chan struct{})}
	for _, implementation := range all {
		own := &component{Component: implementation, name: implementation.Name(), ready: make(chan struct{}), ended: make(chan struct{})}
		own.setReady = sync.OnceFunc(func() {
			own.readyAt = time.Now()
			close(own.ready)
		})
		c.all = append(c.all, own)
	}
	return c
}

// checks returns the readiness checks of the components.
func (c *components) checks() (checks []healthz.HealthChecker) {
	for _, o := range c.all {
		checks = append(checks, healthz.NamedCheck("component/"+o.name, func(*http.Request) error {
			switch {
			case closed(o.ended):
				return errors.New("ended")
			case !closed(o.ready):
				return errors.New("not ready")
			}
			return nil
		}))
	}
	return checks
}

// start starts all components, each with its own client. A component for which lease
// returns a name runs in one server at a time, in the same server as others with that
// Lease. The others run here, and so do all components if elections is nil.
func (c *components) start(client func(name string) (*rest.Config, error), elections *election.Elections, lease func(Component) string) error {
	groups := map[string][]*component{}
	for _, o := range c.all {
		var err error
		if o.config, err = client(o.name); err != nil {
			return err
		}
		name := ""
		if elections != nil {
			name = lease(o.Component)
		}
		groups[name] = append(groups[name], o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.began = cancel, time.Now()
	for name, group := range groups {
		if name == "" {
			for _, o := range group {
				go func() {
					defer close(o.ended)
					c.run(ctx, o)
				}()
			}
			continue
		}
		go c.runElected(ctx, elections, name, group)
	}
	return nil
}

// runElected runs a group of components while this server holds their Lease. On standby
// they count as ready.
func (c *components) runElected(ctx context.Context, elections *election.Elections, lease string, group []*component) {
	defer func() {
		for _, o := range group {
			close(o.ended)
		}
	}()
	standby := func() {
		for _, o := range group {
			o.setReady()
		}
	}
	elections.Lead(ctx, lease, standby, func(ctx context.Context) {
		var running sync.WaitGroup
		defer running.Wait()
		for _, o := range group {
			running.Go(func() { c.run(ctx, o) })
		}
	})
}

// run runs a component. It has failed if it ends before ctx.
func (c *components) run(ctx context.Context, o *component) {
	err := errEnded // also after runtime.Goexit, which failing tests call
	defer func() {
		if cause := recover(); cause != nil {
			c.logger.Error("component panicked", zap.String("component", o.name), zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("panic: %v", cause)
		}
		if ctx.Err() == nil {
			c.fail(fmt.Errorf("component %s: %w", o.name, err))
		}
	}()
	ctx = logging.NewContext(ctx, c.logger.Named(o.name))
	// The component may change its copy.
	config := rest.CopyConfig(o.config)
	forget := containment.Do(ctx, func(err error) { c.fail(fmt.Errorf("component %s: %w", o.name, err)) }, func(ctx context.Context) {
		c.goroutines.Do(ctx, func() {
			if failure := o.Run(ctx, config, o.setReady); failure != nil {
				err = failure
			}
		})
	})
	forget()
}

func (c *components) fail(err error) {
	c.failOnce.Do(func() {
		c.failure = err
		close(c.failed)
	})
}

// wait returns when all components are ready. Its error names the others.
func (c *components) wait(ctx context.Context) error {
	for _, o := range c.all {
		if err := c.announce(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// running reports whether a component has not ended.
func (c *components) running() bool {
	return c.cancel != nil && slices.ContainsFunc(c.all, func(o *component) bool { return !closed(o.ended) })
}

// stop ends the components' context and waits for them. The error names components that
// have not ended in time. It may be called again, and before start.
func (c *components) stop() error {
	if c.cancel == nil {
		return nil
	}
	c.cancel()
	timeout := time.NewTimer(componentsTimeout)
	defer timeout.Stop()
	for _, o := range c.all {
		select {
		case <-o.ended:
		case <-timeout.C:
			running := c.names(func(o *component) bool { return !closed(o.ended) })
			return fmt.Errorf("still running %s after its context ended: component %s", componentsTimeout, running)
		}
	}
	return nil
}

func (c *components) allNames() (names []string) {
	for _, o := range c.all {
		names = append(names, o.name)
	}
	return names
}

func (c *components) names(where func(*component) bool) string {
	var names []string
	for _, o := range c.all {
		if where(o) {
			names = append(names, o.name)
		}
	}
	return strings.Join(names, ", ")
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
