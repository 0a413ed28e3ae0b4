package informers

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
)

// TestTrackedInformersAreFound: waits for webhooks and policies find the informers that know how
// far handlers have come. Since client-go 0.37 what Informer and ForResource return wraps
// one, and nothing waited for handlers.
func TestTrackedInformersAreFound(t *testing.T) {
	t.Parallel()
	factory := informers.NewSharedInformerFactory(nil, 0)
	TrackHandlers(factory)
	for _, example := range []runtime.Object{
		&admissionregistrationv1.ValidatingWebhookConfiguration{}, &admissionregistrationv1.MutatingWebhookConfiguration{},
		&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{},
		&admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{},
	} {
		if informer, ok := AsMade(factory, example).(*Tracked); !ok {
			t.Errorf("%T: %T", example, informer)
		}
	}
}
