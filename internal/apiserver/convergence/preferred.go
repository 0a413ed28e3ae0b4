// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationhelper "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"github.com/kubembed/kubembed/internal/apiserver/crd"
)

// Discovered implements access.Internals.APIsDiscovered, which documents it.
func (w Waiter) Discovered(preferred []*metav1.APIResourceList) bool {
	found := map[schema.GroupResource]string{} // versions
	groups := map[string]bool{}
	for _, list := range preferred {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		groups[gv.Group] = true
		for i := range list.APIResources {
			found[schema.GroupResource{Group: gv.Group, Resource: list.APIResources[i].Name}] = gv.Version
		}
	}
	crds, err := w.crds().List(labels.Everything())
	if err != nil {
		return false
	}
	custom := map[schema.GroupResource]bool{}
	for _, definition := range crds {
		resource := schema.GroupResource{Group: definition.Spec.Group, Resource: definition.Spec.Names.Plural}
		custom[resource] = true
		served := crd.ServedVersions(definition)
		version, ok := found[resource]
		if ok != (len(served) > 0) || ok && !served[version] {
			return false
		}
	}
	services, err := w.Informers.APIServices.Apiregistration().V1().APIServices().Lister().List(labels.Everything())
	if err != nil {
		return false
	}
	aggregated := map[string]bool{}
	for _, service := range services {
		if service.Spec.Service == nil {
			continue
		}
		aggregated[service.Spec.Group] = true
		if apiregistrationhelper.IsAPIServiceConditionTrue(service, apiregistrationv1.Available) && !groups[service.Spec.Group] {
			return false
		}
	}
	for resource, version := range found {
		if custom[resource] || aggregated[resource.Group] || resource.Group == crd.Resource.Group || resource.Group == apiregistrationv1.GroupName {
			continue
		}
		if !w.Serves(schema.GroupVersion{Group: resource.Group, Version: version}) {
			return false // removed
		}
	}
	return true
}
