// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// Contain decorates the plugins of the host. They do not apply to the server's own writes
// at the start and at the stop, like webhooks: see ExemptServer. A call that panics or
// does not return in time fails its request with an error that names the plugin.
type Contain struct {
	// Plugins are the names of the host's plugins.
	Plugins map[string]bool
	// Ready reports whether the server is ready and does not stop.
	Ready func() bool
	// Calls counts the calls.
	Calls *Calls
	// Timeout bounds calls for requests without a deadline, such as exec.
	Timeout time.Duration
	Logger  *zap.Logger
}

// Decorate implements admission.Decorator.
func (c *Contain) Decorate(handler admission.Interface, name string) admission.Interface {
	if !c.Plugins[name] {
		return handler
	}
	p := &hostPlugin{Interface: handler, Contain: c, name: name}
	mutating, mutates := handler.(admission.MutationInterface)
	validating, validates := handler.(admission.ValidationInterface)
	p.mutating, p.validating = mutating, validating
	switch {
	case mutates && validates:
		return hostMutatorValidator{p}
	case mutates:
		return hostMutator{p}
	default:
		return hostValidator{p}
	}
}

// hostPlugin is a plugin of the host. The types below give it the methods that the plugin
// itself has: upstream counts calls by them.
type hostPlugin struct {
	admission.Interface
	mutating   admission.MutationInterface
	validating admission.ValidationInterface
	*Contain
	name  string
	calls hostcall.Calls
}

type (
	hostMutator          struct{ *hostPlugin }
	hostValidator        struct{ *hostPlugin }
	hostMutatorValidator struct{ *hostPlugin }
)

var (
	_ admission.MutationInterface   = hostMutator{}
	_ admission.ValidationInterface = hostValidator{}
	_ admission.MutationInterface   = hostMutatorValidator{}
	_ admission.ValidationInterface = hostMutatorValidator{}
)

func (p hostMutator) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.admit(ctx, a, o)
}

func (p hostMutatorValidator) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.admit(ctx, a, o)
}

func (p hostValidator) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.validate(ctx, a, o)
}

func (p hostMutatorValidator) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.validate(ctx, a, o)
}

func (p *hostPlugin) admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.call(ctx, a, func(ctx context.Context) error { return p.mutating.Admit(ctx, a, o) })
}

func (p *hostPlugin) validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.call(ctx, a, func(ctx context.Context) error { return p.validating.Validate(ctx, a, o) })
}

// Handles returns true if the plugin panics, so that the call that follows panics too and
// fails the request.
func (p *hostPlugin) Handles(operation admission.Operation) (handles bool) {
	defer func() {
		if recover() != nil {
			handles = true
		}
	}()
	return p.Interface.Handles(operation)
}

// call calls the plugin, which may ignore ctx.
func (p *hostPlugin) call(ctx context.Context, a admission.Attributes, phase func(context.Context) error) error {
	if exemptWrite(a, p.Ready) {
		return nil
	}
	end, ok := p.Calls.plugins.Begin()
	if !ok {
		return errStopped()
	}
	deadline, margin := p.deadline(ctx, time.Now())
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	c := &hostCall{outer: ctx, done: make(chan error, 1)}
	if !hostcall.Go(&p.calls, func() error {
		if !p.Interface.Handles(a.GetOperation()) { // unless it panics there
			return nil
		}
		return phase(warning.WithWarningRecorder(ctx, c))
	}, func(r hostcall.Result[error]) {
		if r.Exit != nil {
			r.Value = p.exited(r.Exit)
		}
		c.done <- r.Value
		if c.close() {
			p.Calls.abandon(p.name, -1)
		}
		end()
	}) {
		end()
		return apierrors.NewServiceUnavailable(fmt.Sprintf("admission plugin %q is blocked: %d calls have not returned", p.name, hostcall.Max))
	}
	select {
	case err := <-c.done:
		return p.named(ctx, err)
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		timer := time.NewTimer(margin / 2)
		defer timer.Stop()
		select {
		case err := <-c.done:
			return p.named(ctx, err)
		case <-timer.C:
			p.Logger.Warn("an admission plugin of the host has not returned within the timeout of its request",
				zap.String("plugin", p.name), zap.String("operation", string(a.GetOperation())), zap.Stringer("resource", a.GetResource()))
		}
	}
	p.Calls.abandon(p.name, 1)
	if c.close() { // it has returned meanwhile
		p.Calls.abandon(p.name, -1)
		return p.named(ctx, <-c.done)
	}
	return p.timeout("has not returned")
}

// deadline is margin earlier than the request's. Upstream answers at the request's, and
// does not know what the request has waited for.
func (p *hostPlugin) deadline(ctx context.Context, now time.Time) (deadline time.Time, margin time.Duration) {
	end, ok := ctx.Deadline()
	if !ok {
		end = now.Add(p.Timeout)
	}
	margin = max(0, min(end.Sub(now)/10, time.Second))
	return end.Add(-margin), margin
}

// exited logs how the plugin has failed, and returns the error for the client.
func (p *hostPlugin) exited(exit *hostcall.Exit) error {
	how := "panicked"
	if exit.Panic == nil {
		how = "called runtime.Goexit"
	}
	p.Logger.Error("an admission plugin of the host "+how, zap.String("plugin", p.name), zap.Any("panic", exit.Panic), zap.ByteString("stack", exit.Stack))
	return apierrors.NewInternalError(fmt.Errorf("admission plugin %q %s", p.name, how))
}

func (p *hostPlugin) timeout(what string) error {
	return apierrors.NewTimeoutError(fmt.Sprintf("admission plugin %q %s within the timeout of the request", p.name, what), 0)
}

// named names the plugin in an error of its own that says only that time is up.
func (p *hostPlugin) named(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return err
	}
	return p.timeout("did not finish")
}

// hostCall is a call of a plugin. It passes warnings on to the request until the request
// goes on without the plugin: then the response may be being written.
type hostCall struct {
	outer context.Context
	done  chan error

	mu     sync.Mutex
	closed bool
}

// AddWarning implements warning.Recorder.
func (c *hostCall) AddWarning(agent, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		warning.AddWarning(c.outer, agent, text)
	}
}

// close ends the warnings. It reports whether the other side, the request or the plugin,
// has closed the call before.
func (c *hostCall) close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return true
	}
	c.closed = true
	return false
}
