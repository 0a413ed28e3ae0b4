// Package served finds out which API resources a control plane does not serve, so that a
// component that needs one says so at once: client-go's informers wait for it for ever.
package served

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// MissingError reports resources that a component needs and the control plane does not
// serve.
type MissingError struct {
	// Needs names the component.
	Needs string
	// Resources are like "apps/v1 replicasets", sorted.
	Resources []string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("the control plane does not serve %s, which %s needs: switch it on in its Config.RuntimeConfig, or leave out %s",
		strings.Join(e.Resources, ", "), e.Needs, e.Needs)
}

// Missing returns the resources that are not served, sorted, like "apps/v1 replicasets".
// It asks for each of their versions once.
func Missing(client discovery.DiscoveryInterface, resources ...schema.GroupVersionResource) (missing []string, err error) {
	served := map[schema.GroupVersion]map[string]bool{}
	for _, resource := range resources {
		gv := resource.GroupVersion()
		if served[gv] == nil {
			if served[gv], err = servedIn(client, gv); err != nil {
				return nil, err
			}
		}
		if !served[gv][resource.Resource] {
			missing = append(missing, gv.String()+" "+resource.Resource)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing), nil
}

// Require returns a MissingError unless all resources are served.
func Require(client discovery.DiscoveryInterface, needs string, resources ...schema.GroupVersionResource) error {
	missing, err := Missing(client, resources...)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return &MissingError{needs, missing}
	}
	return nil
}

func servedIn(client discovery.DiscoveryInterface, gv schema.GroupVersion) (map[string]bool, error) {
	names := map[string]bool{}
	list, err := client.ServerResourcesForGroupVersion(gv.String())
	if apierrors.IsNotFound(err) {
		return names, nil
	}
	if err != nil {
		return nil, fmt.Errorf("which resources of %s are served: %w", gv, err)
	}
	for _, resource := range list.APIResources {
		names[resource.Name] = true
	}
	return names, nil
}

// Resources returns the resources of the kinds that informers have, which are pointers to
// types of the scheme.
func Resources(scheme *runtime.Scheme, informers map[reflect.Type]bool) (resources []schema.GroupVersionResource) {
	for kind := range informers {
		object, ok := reflect.New(kind.Elem()).Interface().(runtime.Object)
		if !ok {
			continue
		}
		gvks, _, err := scheme.ObjectKinds(object)
		if err != nil {
			continue // custom resources, which come and go
		}
		resource, _ := meta.UnsafeGuessKindToResource(gvks[0])
		resources = append(resources, resource)
	}
	return resources
}
