package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// componentsTimeout is how long a stop waits for components.
const componentsTimeout = 10 * time.Second

// errEnded is why a component failed that gives no reason.
var errEnded = errors.New("it ended by itself")

// components are parts that run beside the API server.
type components struct {
	all    []*component
	logger *zap.Logger
	family *lifecycle.Family  // their goroutines
	cancel context.CancelFunc // nil before start

	failOnce sync.Once
	failed   chan struct{} // closed when one has failed
	failure  error
}

// component is one of them.
type component struct {
	Component
	name         string
	ready, ended chan struct{} // closed when it is
}

func newComponents(all []Component, family *lifecycle.Family, logger *zap.Logger) *components {
	c := &components{logger: logger, family: family, failed: make(chan struct{})}
	for _, one := range all {
		c.all = append(c.all, &component{Component: one, name: one.Name(), ready: make(chan struct{}), ended: make(chan struct{})})
	}
	return c
}

// checks are the readiness checks of the components.
func (c *components) checks() (checks []healthz.HealthChecker) {
	for _, one := range c.all {
		checks = append(checks, healthz.NamedCheck("component/"+one.name, func(*http.Request) error {
			switch {
			case closed(one.ended):
				return errors.New("ended")
			case !closed(one.ready):
				return errors.New("not ready")
			}
			return nil
		}))
	}
	return checks
}

// start starts the components, all at once, each with a client of its own.
func (c *components) start(client func(name string) (*rest.Config, error)) error {
	configs := make([]*rest.Config, len(c.all))
	for i, one := range c.all {
		var err error
		if configs[i], err = client(one.name); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for i, one := range c.all {
		go c.run(ctx, one, configs[i])
	}
	return nil
}

// run runs a component. To end before ctx does, in whatever way, is to fail.
func (c *components) run(ctx context.Context, one *component, config *rest.Config) {
	defer close(one.ended)
	err := errEnded // by runtime.Goexit too, which tests do that fail
	defer func() {
		if cause := recover(); cause != nil {
			c.logger.Error("component panicked", zap.String("component", one.name), zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("panic: %v", cause)
		}
		if ctx.Err() == nil {
			c.fail(fmt.Errorf("component %s: %w", one.name, err))
		}
	}()
	ready := sync.OnceFunc(func() { close(one.ready) })
	forget := containment.Do(ctx, func(err error) { c.fail(fmt.Errorf("component %s: %w", one.name, err)) }, func(ctx context.Context) {
		c.family.Do(ctx, func() {
			if failure := one.Run(ctx, config, ready); failure != nil {
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

// wait returns when all are ready, or says which are not.
func (c *components) wait(ctx context.Context) error {
	for _, one := range c.all {
		select {
		case <-one.ready:
		case <-c.failed:
			return c.failure
		case <-ctx.Done():
			waiting := c.names(func(o *component) bool { return !closed(o.ready) })
			return fmt.Errorf("not ready: component %s: %w", waiting, context.Cause(ctx))
		}
	}
	return nil
}

// stop tells the components to end and waits for them, or says which have not.
// It may be called again, and before start.
func (c *components) stop() error {
	if c == nil || c.cancel == nil {
		return nil
	}
	c.cancel()
	timeout := time.NewTimer(componentsTimeout)
	defer timeout.Stop()
	for _, one := range c.all {
		select {
		case <-one.ended:
		case <-timeout.C:
			running := c.names(func(o *component) bool { return !closed(o.ended) })
			return fmt.Errorf("still running %s after it was told to end: component %s", componentsTimeout, running)
		}
	}
	return nil
}

func (c *components) names(where func(*component) bool) string {
	var names []string
	for _, one := range c.all {
		if where(one) {
			names = append(names, one.name)
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
