// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence_test

import (
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdfake "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	crdinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	servicefake "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/fake"
	serviceinformers "k8s.io/kube-aggregator/pkg/client/informers/externalversions"

	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
)

// TestDiscovered verifies that a result of discovery is compared with the CRDs and
// APIServices.
func TestDiscovered(t *testing.T) {
	t.Parallel()
	widgets := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	widgets.Spec.Group, widgets.Spec.Names.Plural = "example.com", "widgets"
	widgets.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true}, {Name: "v2"}}
	established := widgets.DeepCopy()
	established.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
	service := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.metrics.example.com"}}
	service.Spec = apiregistrationv1.APIServiceSpec{Group: "metrics.example.com", Version: "v1", Service: &apiregistrationv1.ServiceReference{}}
	available := service.DeepCopy()
	available.Status.Conditions = []apiregistrationv1.APIServiceCondition{{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue}}

	list := func(gv, resource string) *metav1.APIResourceList {
		return &metav1.APIResourceList{GroupVersion: gv, APIResources: []metav1.APIResource{{Name: resource}}}
	}
	builtin := []*metav1.APIResourceList{list("v1", "pods"), list("apiextensions.k8s.io/v1", "customresourcedefinitions"), list("apiregistration.k8s.io/v1", "apiservices")}
	for name, test := range map[string]struct {
		crd     *apiextensionsv1.CustomResourceDefinition
		service *apiregistrationv1.APIService
		more    *metav1.APIResourceList
		want    bool
	}{
		"only built-in APIs":               {want: true},
		"a CRD that is not established":    {crd: widgets, want: true},
		"a missing custom resource":        {crd: established},
		"a custom resource":                {crd: established, more: list("example.com/v1", "widgets"), want: true},
		"a version that is not served":     {crd: established, more: list("example.com/v2", "widgets")},
		"a CRD that is not served yet":     {crd: widgets, more: list("example.com/v1", "widgets")},
		"a CRD that is gone":               {more: list("example.com/v1", "widgets")},
		"another CRD of the group gone":    {crd: widgets, more: list("example.com/v1", "gadgets")},
		"an APIService, not available":     {service: service, want: true},
		"a missing APIService":             {service: available},
		"an APIService":                    {service: available, more: list("metrics.example.com/v1", "pods"), want: true},
		"an APIService in another version": {service: available, more: list("metrics.example.com/v2", "pods"), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crds := crdinformers.NewSharedInformerFactory(crdfake.NewClientset(), 0)
			if test.crd != nil {
				if err := crds.Apiextensions().V1().CustomResourceDefinitions().Informer().GetStore().Add(test.crd); err != nil {
					t.Fatal(err)
				}
			}
			services := serviceinformers.NewSharedInformerFactory(servicefake.NewClientset(), 0)
			if test.service != nil {
				if err := services.Apiregistration().V1().APIServices().Informer().GetStore().Add(test.service); err != nil {
					t.Fatal(err)
				}
			}
			w := convergence.Waiter{
				Informers: informers.Factories{CRDs: crds, APIServices: services},
				Serves:    func(gv schema.GroupVersion) bool { return gv.String() == "v1" },
			}
			found := builtin
			if test.more != nil {
				found = append(slices.Clip(found), test.more)
			}
			if got := w.Discovered(found); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
