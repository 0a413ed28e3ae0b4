// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// APIs are custom resources and the group versions of APIServices.
type APIs struct {
	Resources     []schema.GroupResource
	GroupVersions []schema.GroupVersion
}

// WaitForAPIs implements apiserver.Server.WaitForAPIs, which documents it.
func (w Waiter) WaitForAPIs(ctx context.Context, apis APIs) error {
	if len(apis.Resources) == 0 && len(apis.GroupVersions) == 0 {
		return nil
	}
	var wrong string
	var discoveryErr error
	err := lifecycle.Poll(ctx, func() bool {
		var found discovered
		if found, discoveryErr = w.discover(); discoveryErr != nil {
			return false
		}
		wrong = w.undiscovered(apis, found)
		return wrong == ""
	})
	switch {
	case err == nil:
		return nil
	case discoveryErr != nil:
		return fmt.Errorf("apiserver: discovery: %w: %w", err, discoveryErr)
	default:
		return fmt.Errorf("apiserver: discovery: %w: %s", err, wrong)
	}
}

// discovered is the content of discovery documents.
type discovered struct {
	resources     map[schema.GroupVersionResource]bool
	groupVersions map[schema.GroupVersion]bool
}

func (w Waiter) discover() (discovered, error) {
	found := discovered{map[schema.GroupVersionResource]bool{}, map[schema.GroupVersion]bool{}}
	groups, resources, _, err := w.Discovery.GroupsAndMaybeResources()
	if err != nil {
		return found, err
	}
	for _, group := range groups.Groups {
		for _, version := range group.Versions {
			found.groupVersions[schema.GroupVersion{Group: group.Name, Version: version.Version}] = true
		}
	}
	for gv, list := range resources {
		for i := range list.APIResources {
			found.resources[gv.WithResource(list.APIResources[i].Name)] = true
		}
	}
	return found, nil
}

// undiscovered returns the first difference between discovery and the informers of CRDs
// and APIServices, or an empty string.
func (w Waiter) undiscovered(apis APIs, found discovered) string {
	for _, resource := range apis.Resources {
		installed, err := w.crds().Get(resource.String())
		if err != nil && !apierrors.IsNotFound(err) {
			return err.Error()
		}
		expected := crd.ServedVersions(installed)
		for gvr := range found.resources {
			if gvr.GroupResource() == resource && !expected[gvr.Version] {
				return gvr.String() + " is still in discovery"
			}
		}
		for version := range expected {
			if gvr := resource.WithVersion(version); !found.resources[gvr] {
				return gvr.String() + " is not in discovery"
			}
		}
	}
	registered := w.Informers.APIServices.Apiregistration().V1().APIServices().Lister()
	for _, gv := range apis.GroupVersions {
		service, err := registered.Get(gv.Version + "." + gv.Group)
		switch {
		case apierrors.IsNotFound(err):
			if found.groupVersions[gv] {
				return gv.String() + " is still in discovery"
			}
		case err != nil:
			return err.Error()
		case service.Spec.Service == nil && !found.groupVersions[gv]:
			return gv.String() + " is not in discovery"
		}
	}
	return ""
}
