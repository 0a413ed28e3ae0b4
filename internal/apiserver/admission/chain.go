// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package admission decorates upstream's admission chain and its plugins.
package admission

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
)

// Chain is the admission chain. It counts its calls. A request that is cut off leaves its
// call running, which may wait for the workers of a plugin. Stop ends the workers when
// the last call has returned.
type Chain struct {
	admission.Interface
	Calls *Calls // calls in progress
	// Check returns an error for objects that are refused before the chain sees them.
	Check func(admission.Attributes) error
	// Wait returns when the plugins have the state that they need to decide.
	Wait func(context.Context, admission.Attributes)
}

var (
	_ admission.MutationInterface   = Chain{}
	_ admission.ValidationInterface = Chain{}
)

// Admit implements admission.MutationInterface.
func (c Chain) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if chain, ok := c.Interface.(admission.MutationInterface); ok {
		return c.count(func() error {
			if err := c.Check(a); err != nil {
				return err
			}
			c.Wait(ctx, a)
			return chain.Admit(ctx, a, o)
		})
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (c Chain) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if chain, ok := c.Interface.(admission.ValidationInterface); ok {
		return c.count(func() error {
			c.Wait(ctx, a)
			return chain.Validate(ctx, a, o)
		})
	}
	return nil
}

func (c Chain) count(call func() error) error {
	end, ok := c.Calls.Begin()
	if !ok {
		return errStopped()
	}
	defer end()
	return call()
}

func errStopped() error { return apierrors.NewServiceUnavailable("the API server is stopped") }
