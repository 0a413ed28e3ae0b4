// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apiserver/pkg/admission"
)

// Uninitialized returns a plugin of the host for upstream, which initializes all plugins
// with the same informers. From upstream it gets only the REST mapper, which upstream
// makes itself. InitializeHosts initializes the plugin, and Contain replaces the result.
func Uninitialized(plugin admission.Interface, name string) admission.Interface {
	u := &uninitialized{Interface: plugin, name: name}
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
type InitializeHosts func(name string, mapper meta.RESTMapper) admission.PluginInitializer

// Initialize implements admission.PluginInitializer.
func (i InitializeHosts) Initialize(plugin admission.Interface) {
	if u := uninitializedOf(plugin); u != nil {
		i(u.name, u.mapper).Initialize(u.Interface)
	}
}

type uninitialized struct {
	admission.Interface
	name   string
	mapper meta.RESTMapper
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

// SetRESTMapper implements initializer.WantsRESTMapper.
func (u *uninitialized) SetRESTMapper(mapper meta.RESTMapper) { u.mapper = mapper }

// ValidateInitialization implements admission.InitializationValidator.
func (u *uninitialized) ValidateInitialization() error {
	return admission.ValidateInitialization(u.Interface)
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
