// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kube-openapi/pkg/builder3"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	openapiutil "k8s.io/kube-openapi/pkg/util"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/rbac"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kubembed/kubembed/internal/apiserver/openapi"
	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
)

// TestSeededManagedFields compares the managedFields of each bootstrap object with those
// that upstream's field manager records for its creation by a request.
func TestSeededManagedFields(t *testing.T) {
	_, services, _ := net.ParseCIDR(servicecidr.Default)
	openAPI := genericapiserver.DefaultOpenAPIV3Config(openapi.DefinitionsV3, openapinamer.NewDefinitionNamer(legacyscheme.Scheme, aggregatorscheme.Scheme))
	owners := map[*kind]*managedfields.FieldManager{}
	c := Config{
		Services:    servicecidr.Ranges{services},
		Controllers: true,
		CABundle:    []byte("a CA"),
		Serves:      func(schema.GroupVersion) bool { return true },
	}
	compared := 0
	for _, o := range c.objects() {
		versioned, internal, err := o.forms()
		if err != nil {
			t.Fatal(err)
		}
		ours, err := managedFields(versioned, o.kind.resource.Group, o.manager)
		if err != nil {
			t.Fatal(err)
		}
		if owners[o.kind] == nil {
			owners[o.kind] = fieldManager(t, o.kind, versioned, openAPI)
		}
		if role, ok := internal.(*rbac.ClusterRole); ok && role.AggregationRule != nil {
			role.Rules = nil
		}
		created, err := owners[o.kind].Update(o.kind.internal(), internal, o.manager)
		if err != nil {
			t.Fatal(err)
		}
		accessor, err := meta.Accessor(created)
		if err != nil {
			t.Fatal(err)
		}
		compared++
		// Controllers of upstream make the Apply entries by later requests.
		if ours, want := updates(ours), updates(accessor.GetManagedFields()); !slices.Equal(ours, want) {
			t.Errorf("%s %s/%s: got %q, want %q as upstream", o.kind.resource, accessor.GetNamespace(), accessor.GetName(), ours, want)
		}
	}
	if compared < 150 {
		t.Errorf("got %d objects, want all bootstrap objects", compared)
	}
}

// fieldManager returns upstream's field manager, as the installer of API groups makes it.
func fieldManager(t *testing.T, kind *kind, versioned runtime.Object, openAPI *openapicommon.OpenAPIV3Config) *managedfields.FieldManager {
	t.Helper()
	types, err := builder3.BuildOpenAPIDefinitionsForResources(openAPI, openapiutil.GetCanonicalTypeName(versioned))
	if err != nil {
		t.Fatal(err)
	}
	converter, err := managedfields.NewTypeConverter(types, false)
	if err != nil {
		t.Fatal(err)
	}
	kinds, _, err := kind.scheme.ObjectKinds(versioned)
	if err != nil {
		t.Fatal(err)
	}
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if strategy, ok := kind.strategy.(rest.ResetFieldsStrategy); ok {
		reset = fieldpath.NewExcludeFilterSetMap(strategy.GetResetFields())
	}
	manager, err := managedfields.NewDefaultFieldManager(converter, kind.scheme, kind.scheme, kind.scheme, kinds[0],
		schema.GroupVersion{Group: kind.resource.Group, Version: runtime.APIVersionInternal}, "", reset)
	if err != nil {
		t.Fatal(err)
	}
	return manager
}

func updates(entries []metav1.ManagedFieldsEntry) (all []string) {
	for _, e := range entries {
		if e.Operation == metav1.ManagedFieldsOperationUpdate {
			all = append(all, fmt.Sprintf("%s %s %s %s", e.Manager, e.APIVersion, e.Subresource, e.FieldsV1.GetRawString()))
		}
	}
	return all
}
