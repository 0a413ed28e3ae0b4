package admission

import (
	"context"

	"k8s.io/apiserver/pkg/admission"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// withoutWebhooks is upstream's admission of mutating webhooks, which is not asked as
// long as there are none. It copies every object, to see later whether other plugins
// have changed what its webhooks returned (webhook/mutating/dispatcher.go), also
// when it has none: a fiftieth of the CPU of a create.
type withoutWebhooks struct {
	admission.MutationInterface
	configurations cache.SharedIndexInformer
}

func (w withoutWebhooks) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	// Upstream is told by the same informer, and not before it.
	if w.configurations.HasSynced() && len(w.configurations.GetStore().ListKeys()) == 0 {
		return nil
	}
	return w.MutationInterface.Admit(ctx, a, o)
}

// SkipWithoutWebhooks decorates that plugin and no other. Webhooks of a manifest, which
// are not in informers, are not among what Config can say.
func SkipWithoutWebhooks(factory informers.SharedInformerFactory) admission.Decorator {
	return admission.DecoratorFunc(func(handler admission.Interface, _ string) admission.Interface {
		plugin, ok := handler.(*mutatingwebhook.Plugin)
		if !ok {
			return handler
		}
		return withoutWebhooks{plugin, factory.Admissionregistration().V1().MutatingWebhookConfigurations().Informer()}
	})
}
