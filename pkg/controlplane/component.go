package controlplane

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
)

// Component is a part of the control plane that runs beside the API server: a
// scheduler, controllers, whatever a host writes against the Kubernetes API.
// A value is of one control plane at a time.
//
// Where several control planes share an etcd (see [Etcd]) each has the component, and
// it runs in one of them, which is elected by a Lease in kube-system that is called
// kubembed-component- and its name. There Run may be called again after it has
// returned: its context ends too when the Lease is lost, because etcd was away for
// ten seconds, say, and the control plane goes on. Until it is elected it counts as
// ready. A component that is to run in all of them is given as [WithoutLeaderElection].
//
// A component may have a method Validate() error. [Config.Validate], and so [Start], calls
// it before anything is started, and adds the component's index and name to its error.
type Component interface {
	// Name is a DNS label, like "scheduler", and always the same. It is in
	// errors, in the readiness check component/NAME, in the user that the
	// component is to the API server, system:NAME, and in its user agent.
	Name() string

	// Run works against the control plane that config leads to until ctx ends,
	// then returns, having ended all it has started: the control plane stops
	// when it has returned, or after ten seconds. What it returns then does not
	// matter. To return before ctx ends, or to panic, is a failure of the
	// component that ends the control plane, and so is a panic in a goroutine that
	// Run has started where client-go or apimachinery recovers it. So are klog.Fatal and
	// klog.Exit there. Any other panic ends the process, as always.
	//
	// It calls ready, from any goroutine, once it can do its work; Start waits
	// for that. Calling it again does nothing.
	//
	// config is the component's own copy: in-process, in group system:masters,
	// without client-side rate limit, speaking JSON. For built-in types set its
	// ContentType to application/vnd.kubernetes.protobuf, which is faster.
	//
	// A component that needs an API that [Config].RuntimeConfig has switched off returns an
	// error at once: client-go's informers would wait for it for ever.
	Run(ctx context.Context, config *rest.Config, ready func()) error
}

// validator is a component that can check its configuration.
type validator interface {
	// Validate returns an error if the component cannot run as it is configured.
	Validate() error
}

// validateComponents checks that each has a name of its own, and is valid itself.
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

// validateComponent asks the component, if it knows. Its fields keep their names.
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
		for _, one := range several.Errors() {
			if invalid := (*field.Error)(nil); errors.As(one, &invalid) {
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

// callValidate makes an error of a panic: Validate has promised to return one.
func callValidate(v validator) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("Validate panics: %v", cause)
		}
	}()
	return v.Validate()
}

// unwrapped is the host's own value.
func unwrapped(component Component) Component {
	if wrapped, ok := component.(withoutElection); ok {
		return wrapped.Component
	}
	return component
}

// isNil reports whether component is nil, or a nil pointer, which has no name to give.
func isNil(component Component) bool {
	component = unwrapped(component)
	if component == nil {
		return true
	}
	value := reflect.ValueOf(component)
	return value.Kind() == reflect.Pointer && value.IsNil()
}
