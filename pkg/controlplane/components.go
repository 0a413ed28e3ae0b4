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

// componentsTimeout is how long a stop waits for components.
const componentsTimeout = 10 * time.Second

// errEnded is why a component failed that gives no reason.
var errEnded = errors.New("it ended by itself")

// components are parts that run beside the API server.
type components struct {
	all    []*component
	logger *zap.Logger
	family *lifecycle.GoroutineSet // their goroutines
	cancel context.CancelFunc      // nil before start
	began  time.Time

	failOnce sync.Once
	failed   chan struct{} // closed when one has failed
	failure  error
}

// component is one of them.
type component struct {
	Component
	name         string
	config       *rest.Config
	ready, ended chan struct{} // closed when it is
	setReady     func()
	readyAt      time.Time // before ready is closed
}

func newComponents(all []Component, family *lifecycle.GoroutineSet, logger *zap.Logger) *components {
	c := &components{logger: logger, family: family, failed: make(chan struct{})}
	for _, one := range all {
		own := &component{Component: one, name: one.Name(), ready: make(chan struct{}), ended: make(chan struct{})}
		own.setReady = sync.OnceFunc(func() {
			own.readyAt = time.Now()
			close(own.ready)
		})
		c.all = append(c.all, own)
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

// start starts the components, all at once, each with a client of its own. Those
// that lease gives the name of a Lease run in one server at a time, the ones with the
// same Lease in the same; the others, and all without elections, run here.
func (c *components) start(client func(name string) (*rest.Config, error), elections *election.Elections, lease func(Component) string) error {
	groups := map[string][]*component{}
	for _, one := range c.all {
		var err error
		if one.config, err = client(one.name); err != nil {
			return err
		}
		name := ""
		if elections != nil {
			name = lease(one.Component)
		}
		groups[name] = append(groups[name], one)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.began = cancel, time.Now()
	for name, group := range groups {
		if name == "" {
			for _, one := range group {
				go func() {
					defer close(one.ended)
					c.run(ctx, one)
				}()
			}
			continue
		}
		go c.stand(ctx, elections, name, group)
	}
	return nil
}

// stand runs a group of components whenever this server is elected. Those that wait
// to be are ready for that.
func (c *components) stand(ctx context.Context, elections *election.Elections, lease string, group []*component) {
	defer func() {
		for _, one := range group {
			close(one.ended)
		}
	}()
	standby := func() {
		for _, one := range group {
			one.setReady()
		}
	}
	elections.Lead(ctx, lease, standby, func(ctx context.Context) {
		var running sync.WaitGroup
		defer running.Wait()
		for _, one := range group {
			running.Go(func() { c.run(ctx, one) })
		}
	})
}

// run runs a component. To end before ctx does, in whatever way, is to fail.
func (c *components) run(ctx context.Context, one *component) {
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
	ctx = logging.NewContext(ctx, c.logger.Named(one.name))
	// A component may do with its copy what it likes.
	config := rest.CopyConfig(one.config)
	forget := containment.Do(ctx, func(err error) { c.fail(fmt.Errorf("component %s: %w", one.name, err)) }, func(ctx context.Context) {
		c.family.Do(ctx, func() {
			if failure := one.Run(ctx, config, one.setReady); failure != nil {
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
		if err := c.announce(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// running reports whether a component has not ended.
func (c *components) running() bool {
	return c.cancel != nil && slices.ContainsFunc(c.all, func(o *component) bool { return !closed(o.ended) })
}

// stop ends the components' context and waits for them. The error names those that have not
// ended in time. It may be called again, and before start.
func (c *components) stop() error {
	if c.cancel == nil {
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
			return fmt.Errorf("still running %s after its context ended: component %s", componentsTimeout, running)
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
