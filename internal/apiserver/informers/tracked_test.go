// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
)

// TestAsMade verifies that waits for webhooks and policies find the Tracked informers.
// Since client-go 0.37 Informer and ForResource return wrappers, and waits ignored
// handlers.
func TestAsMade(t *testing.T) {
	t.Parallel()
	factory := informers.NewSharedInformerFactory(nil, 0)
	TrackHandlers(factory)
	for _, example := range []runtime.Object{
		&admissionregistrationv1.ValidatingWebhookConfiguration{}, &admissionregistrationv1.MutatingWebhookConfiguration{},
		&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{},
		&admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{},
	} {
		if informer, ok := AsMade(factory, example).(*Tracked); !ok {
			t.Errorf("AsMade(%T): got %T, want a Tracked", example, informer)
		}
	}
}
