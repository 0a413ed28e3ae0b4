// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"testing"
	"testing/synctest"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// TestPasses verifies that admission compiles policies at the start and when a policy or
// a binding changes, and otherwise once a second.
func TestPasses(t *testing.T) {
	for name, examples := range map[string]struct{ policy, binding runtime.Object }{
		"validating": {&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}},
		"mutating":   {&admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				factory := Blocking(t.Context(), clientgoinformers.NewSharedInformerFactory(nil, 0))
				stored := map[runtime.Object]*handling{}
				informer := func(example runtime.Object) cache.SharedIndexInformer {
					return factory.InformerFor(example, func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
						stored[example] = &handling{}
						return stored[example]
					})
				}
				policies, bindings := informer(examples.policy), informer(examples.binding)
				// As in upstream's loop. It returns how long the pass waited.
				pass := func() time.Duration {
					start := time.Now()
					for range 2 { // before the pass and in it
						if !policies.HasSynced() || !bindings.HasSynced() {
							t.Error("HasSynced returned false")
						}
					}
					bindings.GetIndexer().List()
					return time.Since(start)
				}
				if waited := pass(); waited != 0 {
					t.Errorf("the first pass waited %s, want 0s", waited)
				}
				for range 2 * maxAsked { // passes that fail
					if waited := pass(); waited != passInterval {
						t.Errorf("without a change: the pass waited %s, want %s", waited, passInterval)
					}
				}
				for _, changed := range []runtime.Object{examples.policy, examples.binding} {
					for event, happen := range map[string]func(cache.ResourceEventHandler){
						"add":    func(h cache.ResourceEventHandler) { h.OnAdd(changed, false) },
						"update": func(h cache.ResourceEventHandler) { h.OnUpdate(changed, changed) },
						"delete": func(h cache.ResourceEventHandler) { h.OnDelete(changed) },
					} {
						const later = 10 * time.Millisecond
						time.AfterFunc(later, func() { happen(stored[changed].handler) })
						if waited := pass(); waited != later {
							t.Errorf("%s of a %T: the pass waited %s, want %s", event, changed, waited, later)
						}
					}
				}
				// A change that was compiled with one before it.
				stored[examples.policy].handler.OnDelete(examples.policy)
				for range maxAsked {
					policies.HasSynced()
				}
				start := time.Now()
				policies.HasSynced()
				if waited := time.Since(start); waited != passInterval {
					t.Errorf("after a change that needs no pass: a question waited %s, want %s", waited, passInterval)
				}
			})
		})
	}
}

// handling is an informer with one handler.
type handling struct {
	cache.SharedIndexInformer
	handler cache.ResourceEventHandler
}

func (h *handling) HasSyncedChecker() cache.DoneChecker { return h }
func (h *handling) Name() string                        { return "handling" }
func (h *handling) Done() <-chan struct{}               { return closed }

func (h *handling) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	h.handler = handler
	return nil, nil
}

func (h *handling) GetIndexer() cache.Indexer {
	return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
}
