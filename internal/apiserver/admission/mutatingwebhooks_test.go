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

var errAsked = errors.New("asked")

type asked struct{ admission.MutationInterface }

func (asked) Admit(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return errAsked
}

type synced struct {
	cache.SharedIndexInformer
	store cache.Store
	yes   bool
}

func (s *synced) HasSynced() bool       { return s.yes }
func (s *synced) GetStore() cache.Store { return s.store }

// TestWithoutWebhooks: upstream refuses requests until the informer has synced, and is
// asked then and as long as there are webhooks.
func TestWithoutWebhooks(t *testing.T) {
	informer := &synced{store: cache.NewStore(cache.MetaNamespaceKeyFunc)}
	w := withoutWebhooks{asked{}, informer}
	expect := func(when string, want error) {
		t.Helper()
		if err := w.Admit(t.Context(), nil, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, not %v", when, err, want)
		}
	}
	expect("not synced", errAsked)
	informer.yes = true
	expect("none", nil)
	config := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
	if err := informer.store.Add(config); err != nil {
		t.Fatal(err)
	}
	expect("one", errAsked)
	if err := informer.store.Delete(config); err != nil {
		t.Fatal(err)
	}
	expect("none again", nil)
}

// TestSkipWithoutWebhooksDecoratesOne: there is no factory for others to ask.
func TestSkipWithoutWebhooksDecoratesOne(t *testing.T) {
	decorator := SkipWithoutWebhooks(nil)
	if got := decorator.Decorate(asked{}, mutatingwebhook.PluginName); got != (asked{}) {
		t.Errorf("%T", got)
	}
}
