// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"

	"k8s.io/apiserver/pkg/admission"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// withoutWebhooks skips upstream's plugin of mutating webhooks while there are none. The
// plugin copies every object to see later whether other plugins have changed the result
// of its webhooks (webhook/mutating/dispatcher.go). It does so without webhooks, too,
// which takes 2% of the CPU of a create.
type withoutWebhooks struct {
	admission.MutationInterface
	configurations cache.SharedIndexInformer
}

func (w withoutWebhooks) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	// The same informer notifies upstream, and not earlier.
	if w.configurations.HasSynced() && len(w.configurations.GetStore().ListKeys()) == 0 {
		return nil
	}
	return w.MutationInterface.Admit(ctx, a, o)
}

// SkipWithoutWebhooks returns a decorator of the plugin of mutating webhooks. It would
// also skip webhooks of static manifests, which are not in informers.
func SkipWithoutWebhooks(factory informers.SharedInformerFactory) admission.Decorator {
	return admission.DecoratorFunc(func(handler admission.Interface, _ string) admission.Interface {
		plugin, ok := handler.(*mutatingwebhook.Plugin)
		if !ok {
			return handler
		}
		return withoutWebhooks{plugin, factory.Admissionregistration().V1().MutatingWebhookConfigurations().Informer()}
	})
}
