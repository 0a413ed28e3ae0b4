// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/client-go/tools/cache"
)

var errCalled = errors.New("called")

type plugin struct{ admission.MutationInterface }

func (plugin) Admit(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return errCalled
}

type synced struct {
	cache.SharedIndexInformer
	store cache.Store
	yes   bool
}

func (s *synced) HasSynced() bool       { return s.yes }
func (s *synced) GetStore() cache.Store { return s.store }

// TestWithoutWebhooks verifies that upstream is called until the informer has synced, as
// it refuses requests then, and while there are webhooks.
func TestWithoutWebhooks(t *testing.T) {
	informer := &synced{store: cache.NewStore(cache.MetaNamespaceKeyFunc)}
	w := withoutWebhooks{plugin{}, informer}
	expect := func(when string, want error) {
		t.Helper()
		if err := w.Admit(t.Context(), nil, nil); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", when, err, want)
		}
	}
	expect("not synced", errCalled)
	informer.yes = true
	expect("none", nil)
	config := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
	if err := informer.store.Add(config); err != nil {
		t.Fatal(err)
	}
	expect("one", errCalled)
	if err := informer.store.Delete(config); err != nil {
		t.Fatal(err)
	}
	expect("none again", nil)
}

// TestSkipWithoutWebhooksDecoratesOnePlugin verifies that other plugins are returned
// unchanged.
func TestSkipWithoutWebhooksDecoratesOnePlugin(t *testing.T) {
	decorator := SkipWithoutWebhooks(nil)
	if got := decorator.Decorate(plugin{}, mutatingwebhook.PluginName); got != (plugin{}) {
		t.Errorf("got %T, want the plugin itself", got)
	}
}
