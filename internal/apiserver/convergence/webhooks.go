// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"reflect"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	webhook "k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	clientgoinformers "k8s.io/client-go/informers"

	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

// webhookPlugin is an admission plugin that calls webhooks. Upstream caches the webhooks
// of each configuration, and a handler drops them from the cache when the configuration
// changes. A request that has read the configuration before the change may put the old
// webhooks back into the cache. Then requests call them until the configuration changes
// again.
type webhookPlugin struct {
	source         webhook.Source
	configurations *informers.Tracked
}

// WebhookDecorator returns a decorator that finds the plugins that call webhooks and
// returns them unchanged. Waits for webhook configurations last until the plugins call
// their webhooks.
func (a *Writes) WebhookDecorator(factory clientgoinformers.SharedInformerFactory) admission.Decorator {
	find := func(plugin *webhook.Webhook, configuration runtime.Object, resource string) {
		tracked, ok := informers.AsMade(factory, configuration).(*informers.Tracked)
		source := webhookSource(plugin)
		if ok && source != nil && *source != nil {
			a.sources[admissionregistrationv1.Resource(resource)].inForce = webhookPlugin{*source, tracked}.inForce
		}
	}
	return admission.DecoratorFunc(func(handler admission.Interface, _ string) admission.Interface {
		switch plugin := handler.(type) {
		case *mutatingwebhook.Plugin:
			find(plugin.Webhook, &admissionregistrationv1.MutatingWebhookConfiguration{}, "mutatingwebhookconfigurations")
		case *validatingwebhook.Plugin:
			find(plugin.Webhook, &admissionregistrationv1.ValidatingWebhookConfiguration{}, "validatingwebhookconfigurations")
		}
		return handler
	})
}

// webhookSource returns the unexported field from which a plugin takes the webhooks of
// the API. It is nil if upstream has no such field.
func webhookSource(plugin *webhook.Webhook) *webhook.Source {
	return unexported.Field[webhook.Source](reflect.ValueOf(plugin).Elem(), "apiSource")
}

// inForce reports whether requests call the webhooks that the informer has. If not, it
// calls the handler that drops the old ones again.
func (p webhookPlugin) inForce() bool {
	called := map[any]bool{}
	for _, accessor := range p.source.Webhooks() {
		if mutating, ok := accessor.GetMutatingWebhook(); ok {
			called[mutating] = true
		}
		if validating, ok := accessor.GetValidatingWebhook(); ok {
			called[validating] = true
		}
	}
	current := true
	for _, object := range p.configurations.GetStore().List() {
		if !callsAll(called, object) {
			current = false
			p.configurations.Redeliver(object)
		}
	}
	return current
}

// callsAll reports whether requests call all webhooks of a configuration.
func callsAll(called map[any]bool, configuration any) bool {
	switch c := configuration.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i := range c.Webhooks {
			if !called[&c.Webhooks[i]] {
				return false
			}
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i := range c.Webhooks {
			if !called[&c.Webhooks[i]] {
				return false
			}
		}
	}
	return true
}
