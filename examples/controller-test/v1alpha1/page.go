// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the old version of the API, in which a page has one text.
//
// +kubebuilder:object:generate=true
// +groupName=site.example.com
package v1alpha1

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/conversion"

	v1 "github.com/kubembed/kubembed/examples/controller-test/v1"
)

// GroupVersion of the types in this package.
var GroupVersion = schema.GroupVersion{Group: "site.example.com", Version: "v1alpha1"}

// AddToScheme registers the types in this package.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Page{}, &PageList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}

// Page is published as a ConfigMap that holds its HTML.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
type Page struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   PageSpec      `json:"spec"`
	Status v1.PageStatus `json:"status,omitempty"`
}

// PageSpec is what the page says.
type PageSpec struct {
	// +kubebuilder:validation:MinLength=1
	Title string `json:"title"`
	// Text has empty lines between its paragraphs.
	Text string `json:"text,omitempty"`
}

// PageList is a list of pages.
//
// +kubebuilder:object:root=true
type PageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Page `json:"items"`
}

const emptyLine = "\n\n"

// ConvertTo writes the page to the version that is stored.
func (p *Page) ConvertTo(hub conversion.Hub) error {
	to := hub.(*v1.Page)
	to.ObjectMeta = p.ObjectMeta
	to.Status = p.Status
	to.Spec.Title = p.Spec.Title
	to.Spec.Paragraphs = nil
	if p.Spec.Text != "" {
		to.Spec.Paragraphs = strings.Split(p.Spec.Text, emptyLine)
	}
	return nil
}

// ConvertFrom reads the page from the version that is stored.
func (p *Page) ConvertFrom(hub conversion.Hub) error {
	from := hub.(*v1.Page)
	p.ObjectMeta = from.ObjectMeta
	p.Status = from.Status
	p.Spec.Title = from.Spec.Title
	p.Spec.Text = strings.Join(from.Spec.Paragraphs, emptyLine)
	return nil
}
