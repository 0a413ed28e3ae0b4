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
	if u := uninitializedOf(handler); u != nil {
		handler = u.Interface
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

// handlesTime is the time that Handles waits for the plugin, which should answer at once.
const handlesTime = 50 * time.Millisecond

// Handles returns true also if the plugin panics or does not return. Upstream then calls
// it, call asks it again, and the request fails with its name. Here the request and its
// deadline are unknown.
func (p *hostPlugin) Handles(operation admission.Operation) bool {
	handles := false
	c := &hostCall{done: make(chan error, 1)}
	if p.begin(c, func() error {
		defer func() {
			if recover() != nil {
				handles = true
			}
		}()
		handles = p.Interface.Handles(operation)
		return nil
	}) != nil {
		return true
	}
	timer := time.NewTimer(handlesTime)
	defer timer.Stop()
	select {
	case err := <-c.done:
		return handles || err != nil
	case <-timer.C:
	}
	p.leave(c)
	return true
}

// call calls the plugin, which may ignore ctx.
func (p *hostPlugin) call(ctx context.Context, a admission.Attributes, phase func(context.Context) error) error {
	if exemptWrite(a, p.Ready) {
		return nil
	}
	limit, margin := hostcall.Limit(ctx, p.Timeout)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := &hostCall{outer: ctx, done: make(chan error, 1)}
	if err := p.begin(c, func() error {
		if !p.Interface.Handles(a.GetOperation()) { // unless it panics there
			return nil
		}
		return phase(warning.WithWarningRecorder(ctx, c))
	}); err != nil {
		return err
	}
	select {
	case err := <-c.done:
		return p.named(ctx, limit, err)
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		timer := time.NewTimer(margin / 2)
		defer timer.Stop()
		select {
		case err := <-c.done:
			return p.named(ctx, limit, err)
		case <-timer.C:
		}
	}
	if p.leave(c) {
		return hostcall.Overdue(p.Logger, p.code(), limit)
	}
	return p.named(ctx, limit, <-c.done)
}

// begin calls f, which calls the plugin.
func (p *hostPlugin) begin(c *hostCall, f func() error) error {
	end, ok := p.Calls.plugins.Begin()
	if !ok {
		return errStopped()
	}
	if !hostcall.Go(&p.calls, f, func(r hostcall.Result[error]) {
		if r.Exit != nil {
			r.Value = hostcall.Exited(p.Logger, p.code(), r.Exit)
		}
		c.done <- r.Value
		if c.close() {
			p.Calls.abandon(p.name, -1)
		}
		end()
	}) {
		end()
		return hostcall.Blocked(p.code())
	}
	return nil
}

// leave lets the request go on without the call. It reports false if the call has
// returned meanwhile.
func (p *hostPlugin) leave(c *hostCall) bool {
	p.Calls.abandon(p.name, 1)
	if c.close() {
		p.Calls.abandon(p.name, -1)
		return false
	}
	return true
}

// code names the plugin in failures.
func (p *hostPlugin) code() string { return fmt.Sprintf("admission plugin %q", p.name) }

// named names the plugin in an error of its own that says only that time is up.
func (p *hostPlugin) named(ctx context.Context, limit time.Duration, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return err
	}
	return hostcall.Overdue(p.Logger, p.code(), limit)
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
