// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllertest

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/kubembed/kubembed/examples/controller-test/v1"
)

// SetupWebhooks adds the validation and conversion of pages to the manager's webhook
// server.
func SetupWebhooks(mgr ctrl.Manager) error {
	return ctrl.NewWebhookManagedBy(mgr, &v1.Page{}).WithValidator(validator{}).Complete()
}

// +kubebuilder:webhook:path=/validate-site-example-com-v1-page,mutating=false,failurePolicy=fail,sideEffects=None,groups=site.example.com,resources=pages,verbs=create;update,versions=v1,name=vpage.site.example.com,admissionReviewVersions=v1

// validator makes checks that a schema cannot express.
type validator struct{}

func (validator) ValidateCreate(_ context.Context, page *v1.Page) (admission.Warnings, error) {
	return nil, validate(page)
}

func (validator) ValidateUpdate(_ context.Context, _, page *v1.Page) (admission.Warnings, error) {
	return nil, validate(page)
}

func (validator) ValidateDelete(context.Context, *v1.Page) (admission.Warnings, error) {
	return nil, nil
}

func validate(page *v1.Page) error {
	if i := slices.Index(page.Spec.Paragraphs, page.Spec.Title); i >= 0 {
		return field.Invalid(field.NewPath("spec", "paragraphs").Index(i), page.Spec.Title, "must not repeat the title")
	}
	return nil
}
