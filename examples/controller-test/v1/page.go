// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1 is the version of the API that is stored and that the controller
// works with.
//
// +kubebuilder:object:generate=true
// +groupName=site.example.com
package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of the types in this package.
var GroupVersion = schema.GroupVersion{Group: "site.example.com", Version: "v1"}

// AddToScheme registers the types in this package.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Page{}, &PageList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}

// Page is published as a ConfigMap that holds its HTML.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
type Page struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   PageSpec   `json:"spec"`
	Status PageStatus `json:"status,omitempty"`
}

// PageSpec is what the page says.
type PageSpec struct {
	// +kubebuilder:validation:MinLength=1
	Title      string   `json:"title"`
	Paragraphs []string `json:"paragraphs,omitempty"`
}

// PageStatus says where the page is published.
type PageStatus struct {
	// ConfigMap is empty until the page is published.
	ConfigMap string `json:"configMap,omitempty"`
}

// PageList is a list of pages.
//
// +kubebuilder:object:root=true
type PageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Page `json:"items"`
}

// Hub marks the version that the others are converted to and from.
func (*Page) Hub() {}
