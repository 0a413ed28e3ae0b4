// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/nils"
)

// Component is a part of the control plane that runs beside the API server, for example a
// scheduler or controllers. A value belongs to one control plane at a time.
//
// If several control planes share an etcd (see [Etcd]), each has the component, and one
// of them runs it. It is elected by the Lease kubembed-component-NAME in kube-system. Run
// may then be called again after it has returned. Its context also ends when the Lease is
// lost, for example because etcd was unavailable for ten seconds, and the control plane
// continues. A component that waits for its election counts as ready.
// [WithoutLeaderElection] runs a component in all of the control planes.
//
// A component may have a method Validate() error. [Config.Validate], and so [Start],
// calls it before anything is started, and adds the component's index and name to the
// error.
type Component interface {
	// Name returns a DNS label, like "scheduler", and always the same. It is used in
	// errors, in the readiness check component/NAME, in the component's user name
	// system:NAME, and in its user agent.
	Name() string

	// Run works with the control plane of config until ctx ends, then stops its
	// goroutines and returns. The control plane waits for that, at most ten seconds, and
	// ignores the result. If Run returns or panics before ctx ends, the component has
	// failed, and the control plane stops. So does it after klog.Fatal and klog.Exit in
	// the component, and after a panic in a goroutine of Run that client-go or
	// apimachinery recovers. Any other panic ends the process, as usual.
	//
	// Run calls ready, from any goroutine, once it can do its work. Start waits for that.
	// Further calls do nothing.
	//
	// config is the component's own copy: in-process, in group system:masters, without
	// client-side rate limit, with JSON. For built-in types set its ContentType to
	// application/vnd.kubernetes.protobuf, which is faster.
	//
	// A component that needs an API that [Config].RuntimeConfig has switched off returns
	// an error at once: client-go's informers would wait for that API forever.
	Run(ctx context.Context, config *rest.Config, ready func()) error
}

// validator is a component with a Validate method.
type validator interface {
	// Validate returns an error if the component cannot run as it is configured.
	Validate() error
}

// validateComponents checks that each component has a different name and is valid.
func (c Config) validateComponents() (errs field.ErrorList) {
	names := map[string]bool{}
	for i, component := range c.Components {
		path := field.NewPath("Components").Index(i)
		if isNil(component) {
			errs = append(errs, field.Required(path, "must not be nil: leave it out"))
			continue
		}
		name := component.Name()
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			errs = append(errs, field.Invalid(path, name, "Name must be a DNS label: "+strings.Join(problems, "; ")))
		} else if names[name] {
			errs = append(errs, field.Duplicate(path, name))
		}
		names[name] = true
		errs = append(errs, validateComponent(path.String(), name, component)...)
	}
	return errs
}

// validateComponent calls the component's Validate. Its fields keep their names.
func validateComponent(path, name string, component Component) (errs field.ErrorList) {
	v, ok := unwrapped(component).(validator)
	if !ok {
		return nil
	}
	err := callValidate(v)
	if err == nil {
		return nil
	}
	at := fmt.Sprintf("%s (%s)", path, name)
	var several utilerrors.Aggregate
	if errors.As(err, &several) {
		for _, problem := range several.Errors() {
			if invalid := (*field.Error)(nil); errors.As(problem, &invalid) {
				errs = append(errs, &field.Error{Type: invalid.Type, Field: at + ": " + invalid.Field, BadValue: invalid.BadValue, Detail: invalid.Detail})
			}
		}
	}
	if len(errs) == 0 || len(errs) != len(several.Errors()) {
		detail := strings.TrimPrefix(err.Error(), name+": ")
		return field.ErrorList{{Type: field.ErrorTypeInvalid, Field: at, BadValue: field.OmitValueType{}, Detail: detail}}
	}
	return errs
}

// callValidate returns a panic as an error.
func callValidate(v validator) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("Validate panics: %v", cause)
		}
	}()
	return v.Validate()
}

// unwrapped returns the host's own value.
func unwrapped(component Component) Component {
	if wrapped, ok := component.(withoutElection); ok {
		return wrapped.Component
	}
	return component
}

// isNil reports whether component is nil, or a nil pointer or function, so that Name
// would panic.
func isNil(component Component) bool {
	return nils.Is(unwrapped(component))
}
