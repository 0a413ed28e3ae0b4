// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/admission"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// Making are the bounds of plugins of the host while a server is made.
type Making struct {
	Context context.Context
	Timeout time.Duration
	Logger  *zap.Logger
}

// Make calls f, which calls a plugin. It returns an error if the plugin panics, ends its
// goroutine, or does not return in time.
func Make[T any](m Making, f func() (T, error)) (value T, err error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	hostcall.Go(&hostcall.Calls{}, func() (r result) {
		r.value, r.err = f()
		return r
	}, func(r hostcall.Result[result]) {
		if r.Exit != nil {
			r.Value.err = m.exited(r.Exit)
		}
		done <- r.Value
	})
	timer := time.NewTimer(m.Timeout)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.value, r.err
	case <-timer.C:
		return value, fmt.Errorf("has not returned within %s", m.Timeout)
	case <-m.Context.Done():
		return value, fmt.Errorf("had not returned when the start was given up: %w", context.Cause(m.Context))
	}
}

// exited is an error for the host, with the value of its panic.
func (m Making) exited(exit *hostcall.Exit) error {
	if exit.Panic == nil {
		return errors.New("ended its goroutine in place of returning")
	}
	m.Logger.Error("an admission plugin of the host panicked", zap.Any("panic", exit.Panic), zap.ByteString("stack", exit.Stack))
	return fmt.Errorf("panicked: %v", exit.Panic)
}

// Uninitialized returns a plugin of the host for upstream, which initializes all plugins
// with the same informers. InitializeHosts initializes the plugin, and Contain replaces
// the result.
func Uninitialized(plugin admission.Interface, name string, m Making) admission.Interface {
	u := &uninitialized{Interface: plugin, name: name, making: m}
	_, mutates := plugin.(admission.MutationInterface)
	_, validates := plugin.(admission.ValidationInterface)
	switch {
	case mutates && validates:
		return uninitializedMutatorValidator{u}
	case mutates:
		return uninitializedMutator{u}
	default:
		return uninitializedValidator{u}
	}
}

// InitializeHosts returns the initializers of a plugin of the host with this name.
type InitializeHosts func(name string) admission.PluginInitializer

// Initialize implements admission.PluginInitializer. ValidateInitialization returns the
// error.
func (i InitializeHosts) Initialize(plugin admission.Interface) {
	if u := uninitializedOf(plugin); u != nil {
		initializer := i(u.name)
		u.err = u.call(func() error { initializer.Initialize(u.Interface); return nil })
	}
}

type uninitialized struct {
	admission.Interface
	name   string
	making Making
	err    error // of the initialization
}

func (u *uninitialized) call(f func() error) error {
	_, err := Make(u.making, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// The types below have the methods of the plugin: upstream logs its order by them.
type (
	uninitializedMutator          struct{ *uninitialized }
	uninitializedValidator        struct{ *uninitialized }
	uninitializedMutatorValidator struct{ *uninitialized }
)

func (u *uninitialized) self() *uninitialized { return u }

func uninitializedOf(plugin admission.Interface) *uninitialized {
	if u, ok := plugin.(interface{ self() *uninitialized }); ok {
		return u.self()
	}
	return nil
}

// ValidateInitialization implements admission.InitializationValidator.
func (u *uninitialized) ValidateInitialization() error {
	if u.err != nil {
		return u.err
	}
	return u.call(func() error { return admission.ValidateInitialization(u.Interface) })
}

var errUninitialized = errors.New("the plugin is not initialized yet")

func (uninitializedMutator) Admit(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return errUninitialized
}

func (uninitializedMutatorValidator) Admit(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return errUninitialized
}

func (uninitializedValidator) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return errUninitialized
}

func (uninitializedMutatorValidator) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return errUninitialized
}
