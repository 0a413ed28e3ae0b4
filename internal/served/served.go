// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package served checks which API resources a control plane serves. A component that
// needs a missing resource can then fail at once: client-go's informers would wait for it
// forever.
package served

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// MissingError reports resources that a component needs and the control plane does not
// serve.
type MissingError struct {
	// Needs is the name of the component.
	Needs string
	// Resources are the missing resources in the format of Name, sorted.
	Resources []string
}

func (e *MissingError) Error() string { return e.Unwrap().Error() }

// Unwrap returns the message, in which fieldpath.Rename finds the field.
func (e *MissingError) Unwrap() error {
	return fieldpath.Errorf("the control plane does not serve %s, which %s needs: switch it on in its %s, or leave out %s",
		strings.Join(e.Resources, ", "), e.Needs, fieldpath.Name("Config.RuntimeConfig"), e.Needs)
}

// Name returns the name of a resource in RuntimeConfig, like "apps/v1/replicasets".
func Name(resource schema.GroupVersionResource) string {
	return resource.GroupVersion().String() + "/" + resource.Resource
}

// Resources are the resources that an API server serves, by Name.
type Resources map[string]bool

// Discover returns the served resources. It skips groups of aggregated API servers that
// are unavailable.
func Discover(client discovery.DiscoveryInterface) (Resources, error) {
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("discovery of the served resources: %w", err)
	}
	all := Resources{}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			all[list.GroupVersion+"/"+resource.Name] = true
		}
	}
	return all, nil
}

// Missing returns the names that are not served, sorted.
func (r Resources) Missing(names ...string) (missing []string) {
	for _, name := range names {
		if !r[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// Require returns a MissingError unless all resources are served.
func Require(client discovery.DiscoveryInterface, needs string, names ...string) error {
	all, err := Discover(client)
	if err != nil {
		return err
	}
	if missing := all.Missing(names...); len(missing) > 0 {
		return &MissingError{needs, missing}
	}
	return nil
}

// OfInformers returns the names of the resources of informers. The keys of informers are
// pointers to types of the scheme.
func OfInformers(scheme *runtime.Scheme, informers map[reflect.Type]bool) (names []string) {
	for kind := range informers {
		object, ok := reflect.TypeAssert[runtime.Object](reflect.New(kind.Elem()))
		if !ok {
			continue
		}
		gvks, _, err := scheme.ObjectKinds(object)
		if err != nil {
			continue // a custom resource
		}
		resource, _ := meta.UnsafeGuessKindToResource(gvks[0])
		names = append(names, Name(resource))
	}
	return names
}
