// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package crd has the API server's view of CustomResourceDefinitions (CRDs) and of the
// storage of custom resources.
package crd

import (
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource is the resource of CustomResourceDefinitions.
var Resource = apiextensionsv1.Resource("customresourcedefinitions")

// ServedVersions returns the versions in which clients can use a custom resource now. It
// returns none for nil and for a CRD that is not established.
func ServedVersions(crd *apiextensionsv1.CustomResourceDefinition) map[string]bool {
	served := map[string]bool{}
	if crd == nil {
		return served
	}
	established := apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established)
	for _, version := range crd.Spec.Versions {
		if established && version.Served {
			served[version.Name] = true
		}
	}
	return served
}

// ResourceOfKind returns the custom resource of a kind if its version is served.
func ResourceOfKind(lister listers.CustomResourceDefinitionLister, kind schema.GroupVersionKind) (resource schema.GroupResource, ok bool) {
	crds, err := lister.List(labels.Everything())
	if err != nil {
		return schema.GroupResource{}, false
	}
	for _, crd := range crds {
		if crd.Spec.Group == kind.Group && crd.Status.AcceptedNames.Kind == kind.Kind && ServedVersions(crd)[kind.Version] {
			return schema.GroupResource{Group: kind.Group, Resource: crd.Status.AcceptedNames.Plural}, true
		}
	}
	return schema.GroupResource{}, false
}
