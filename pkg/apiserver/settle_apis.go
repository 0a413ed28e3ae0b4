package apiserver

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// APIs are custom resources, and the group versions of APIServices.
type APIs struct {
	Resources     []schema.GroupResource
	GroupVersions []schema.GroupVersion
}

// WaitForAPIs returns when discovery tells of apis what the definitions and
// APIServices say that the server knows: established custom resources are there in
// each version that is served, others are not; registered group versions are
// there unless they are of another server, and those that are not registered are
// not. The error is the cause of ctx, when that ends first, and names the API.
func (s *Server) WaitForAPIs(ctx context.Context, apis APIs) error {
	if len(apis.Resources) == 0 && len(apis.GroupVersions) == 0 {
		return nil
	}
	var wrong string
	var discoveryErr error
	err := lifecycle.Poll(ctx, func() bool {
		var found discovered
		if found, discoveryErr = s.discover(); discoveryErr != nil {
			return false
		}
		wrong = s.undiscovered(apis, found)
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

// discovered is what discovery tells of.
type discovered struct {
	resources     map[schema.GroupVersionResource]bool
	groupVersions map[schema.GroupVersion]bool
}

func (s *Server) discover() (discovered, error) {
	found := discovered{map[schema.GroupVersionResource]bool{}, map[schema.GroupVersion]bool{}}
	groups, resources, _, err := s.generic.client.GroupsAndMaybeResources()
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

// undiscovered says what is wrong with discovery, or nothing.
func (s *Server) undiscovered(apis APIs, found discovered) string {
	definitions := s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister()
	for _, resource := range apis.Resources {
		definition, err := definitions.Get(resource.String())
		if err != nil && !apierrors.IsNotFound(err) {
			return err.Error()
		}
		expected := servedVersions(definition)
		for gvr := range found.resources {
			if gvr.GroupResource() == resource && !expected[gvr.Version] {
				return gvr.String() + " is still there"
			}
		}
		for version := range expected {
			if gvr := resource.WithVersion(version); !found.resources[gvr] {
				return gvr.String() + " is not there"
			}
		}
	}
	registered := s.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices().Lister()
	for _, gv := range apis.GroupVersions {
		service, err := registered.Get(gv.Version + "." + gv.Group)
		switch {
		case apierrors.IsNotFound(err):
			if found.groupVersions[gv] {
				return gv.String() + " is still there"
			}
		case err != nil:
			return err.Error()
		case service.Spec.Service == nil && !found.groupVersions[gv]:
			return gv.String() + " is not there"
		}
	}
	return ""
}

// servedVersions are those in which a custom resource can be used now.
func servedVersions(definition *apiextensionsv1.CustomResourceDefinition) map[string]bool {
	served := map[string]bool{}
	if definition == nil {
		return served
	}
	established := apihelpers.IsCRDConditionTrue(definition, apiextensionsv1.Established)
	for _, version := range definition.Spec.Versions {
		if established && version.Served {
			served[version.Name] = true
		}
	}
	return served
}
