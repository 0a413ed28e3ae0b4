// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

var (
	validatingKind = admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingWebhookConfiguration")
	mutatingKind   = admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration")
)

// object is a value of an API type.
type object interface {
	metav1.Object
	runtime.Object
}

// registration is a webhook configuration or an APIService, and its source for messages.
type registration struct {
	object
	resource schema.GroupResource
	from     string
}

var (
	validatingResource = schema.GroupResource{Group: admissionregistrationv1.GroupName, Resource: "validatingwebhookconfigurations"}
	mutatingResource   = schema.GroupResource{Group: admissionregistrationv1.GroupName, Resource: "mutatingwebhookconfigurations"}
)

// read returns each configuration once, and all problems that can be found without a
// server.
func (w Webhooks) read(field string) ([]registration, error) {
	var found []registration
	var errs []error
	manifests, err := manifestSources{field: field, paths: w.Paths, fsys: w.FS, bytes: w.Manifests}.read(validatingKind, mutatingKind)
	if err != nil {
		errs = append(errs, err)
	}
	for _, m := range manifests {
		r := registration{&admissionregistrationv1.ValidatingWebhookConfiguration{}, validatingResource, m.String()}
		if m.gvk == mutatingKind {
			r = registration{&admissionregistrationv1.MutatingWebhookConfiguration{}, mutatingResource, m.String()}
		}
		if err := m.into(r.object); err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, r)
	}
	for i, configuration := range w.Validating {
		if configuration == nil {
			errs = append(errs, fmt.Errorf("%s.Validating[%d] is nil", field, i))
			continue
		}
		found = append(found, registration{configuration.DeepCopy(), validatingResource, fmt.Sprintf("%s.Validating[%d] %q", field, i, configuration.Name)})
	}
	for i, configuration := range w.Mutating {
		if configuration == nil {
			errs = append(errs, fmt.Errorf("%s.Mutating[%d] is nil", field, i))
			continue
		}
		found = append(found, registration{configuration.DeepCopy(), mutatingResource, fmt.Sprintf("%s.Mutating[%d] %q", field, i, configuration.Name)})
	}
	for i, namespace := range w.Namespaces {
		for _, problem := range validation.IsDNS1123Label(namespace) {
			errs = append(errs, fmt.Errorf("%s.Namespaces[%d] %q: %s", field, i, namespace, problem))
		}
	}
	if len(found) == 0 && len(w.Conversion) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s has no Paths, FS, Manifests, Validating, Mutating or Conversion", field))
	}
	unique, err := uniqueRegistrations(found)
	if err != nil {
		errs = append(errs, err)
	}
	return unique, errors.Join(errs...)
}

func (w Webhooks) empty() bool {
	return w.Paths == nil && w.FS == nil && w.Manifests == nil && w.Validating == nil && w.Mutating == nil &&
		w.Conversion == nil && w.Handler == nil
}

func uniqueRegistrations(found []registration) ([]registration, error) {
	var unique []registration
	var errs []error
	type key struct {
		resource schema.GroupResource
		name     string
	}
	first := map[key]registration{}
	for _, r := range found {
		// Fields that only a server sets would prevent the create.
		r.SetResourceVersion("")
		r.SetUID("")
		id := key{r.resource, r.GetName()}
		before, seen := first[id]
		switch {
		case !seen:
			first[id] = r
			unique = append(unique, r)
		case !equality.Semantic.DeepEqual(before.object, r.object):
			errs = append(errs, fmt.Errorf("%s: differs from %s: remove one of them", r.from, before.from))
		}
	}
	return unique, errors.Join(errs...)
}

// webhook has the fields that validating and mutating webhooks share.
type webhook struct {
	name     string
	config   *admissionregistrationv1.WebhookClientConfig
	selector **metav1.LabelSelector
}

func webhooksOf(configuration object) (found []webhook) {
	switch c := configuration.(type) {
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			found = append(found, webhook{w.Name, &w.ClientConfig, &w.NamespaceSelector})
		}
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			found = append(found, webhook{w.Name, &w.ClientConfig, &w.NamespaceSelector})
		}
	}
	return found
}

// confine restricts the webhooks to the namespaces.
func confine(configuration object, namespaces []string) {
	if len(namespaces) == 0 {
		return
	}
	configuration.SetName(configuration.GetName() + "-" + namespaces[0])
	for _, w := range webhooksOf(configuration) {
		if *w.selector == nil {
			*w.selector = &metav1.LabelSelector{}
		}
		(*w.selector).MatchExpressions = append((*w.selector).MatchExpressions, metav1.LabelSelectorRequirement{
			Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: namespaces,
		})
	}
}

// redirect points the webhooks that have a Service to the server.
func redirect(configuration registration, server *LocalServer) {
	for _, w := range webhooksOf(configuration.object) {
		if w.config.Service == nil {
			continue
		}
		path := ""
		if w.config.Service.Path != nil {
			path = *w.config.Service.Path
		}
		url := server.url(path)
		w.config.Service, w.config.URL, w.config.CABundle = nil, &url, server.ca
		server.serves = append(server.serves, fmt.Sprintf("webhook %q of %s at %s", w.name, configuration.from, url))
	}
}
