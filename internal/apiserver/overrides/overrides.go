// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package overrides checks which resources may be stored in an etcd of their own.
package overrides

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/internal/storage"
)

// events are stored as one resource.
var events = []schema.GroupResource{{Resource: "events"}, {Group: "events.k8s.io", Resource: "events"}}

// Parse returns the resources of names like "events" and "leases.coordination.k8s.io".
func Parse(names []string) (resources []schema.GroupResource) {
	for _, name := range names {
		resource := schema.ParseGroupResource(name)
		if slices.Contains(events, resource) {
			resources = append(resources, events...)
			continue
		}
		resources = append(resources, resource)
	}
	return resources
}

// Validator refuses resources that cannot be stored in an etcd of their own. Its zero
// value is ready.
type Validator struct{ seen map[schema.GroupResource]bool }

// Validate checks the resources of one etcd, which no other may have.
func (v *Validator) Validate(at *field.Path, names []string) (errs field.ErrorList) {
	if len(names) == 0 {
		errs = append(errs, field.Required(at, `the resources to store there, like "events"`))
	}
	if v.seen == nil {
		v.seen = map[schema.GroupResource]bool{}
	}
	for i, name := range names {
		resource := Parse([]string{name})[0]
		switch {
		case v.seen[resource]:
			errs = append(errs, field.Duplicate(at.Index(i), name))
		case !storage.Builtin(resource):
			errs = append(errs, field.Invalid(at.Index(i), name, `is no built-in resource: write its plural and its group, like "events" or "leases.coordination.k8s.io"`))
		case !movable(resource):
			errs = append(errs, field.Forbidden(at.Index(i), name+" must stay with the other objects: the control plane itself depends on it"))
		}
		v.seen[resource] = true
	}
	return errs
}

// movable reports whether neither decisions about requests nor the server itself depend
// on a resource.
func movable(resource schema.GroupResource) bool {
	switch resource.Group {
	case apiregistrationv1.GroupName, apiextensionsv1.GroupName, "networking.k8s.io":
		return false
	case "":
		if slices.Contains([]string{"secrets", "services", "endpoints"}, resource.Resource) {
			return false
		}
	}
	return !convergence.NewWrites().AffectsDecisions(resource)
}
