package apiserver

import (
	"context"
	"fmt"
	"reflect"
	"time"

	apiextensionsscheme "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/scheme"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// WaitForInformers returns when the server itself knows what has happened to
// resource up to resourceVersion: what authorizes and admits requests, counts
// quotas, and serves custom resources works from informers, which lag behind what
// was written by a millisecond or so. Requests
// that depend on a write through this server wait by themselves; this is for other
// writes, such as those of other servers of the same etcd. resourceVersion is that of an object of
// resource, as it was when it was created, updated or deleted. Of a resource for
// which the server has no informer there is nothing to wait for.
//
//	config, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, config, metav1.CreateOptions{})
//	...
//	err = server.WaitForInformers(ctx, schema.GroupResource{Group: "admissionregistration.k8s.io",
//		Resource: "validatingwebhookconfigurations"}, config.ResourceVersion)
//	// The next request meets the webhook.
//
// That an informer has seen a new CustomResourceDefinition or an APIService does not
// mean that its API is served already: discovery tells. One that was served before is
// served as it says. Admission looks once a second for policies that have changed, and
// compiles them, which is not waited for; WaitForStored waits for it. Neither waits longer than ten
// seconds for custom resources that are parameters of policies: they may be unreadable, as where the
// conversion webhook of their CustomResourceDefinition does not answer.
//
// The error is the cause of ctx, when that ends first, and names the resource.
func (s *Server) WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error {
	informers := s.runningInformers()[resource]
	if err := waitAt(ctx, informers, resource, resourceVersion); err != nil {
		return err
	}
	err := withinParams(ctx, func(limit context.Context) error {
		return waitAt(limit, s.paramInformers()[resource], resource, resourceVersion)
	})
	if err != nil {
		return err
	}
	waitTold(ctx, informers, resourceVersion, 1)
	return s.waitInForce(ctx, resource)
}

// waitAt waits until the stores of informers are at resourceVersion.
func waitAt(ctx context.Context, informers []cache.SharedIndexInformer, resource schema.GroupResource, resourceVersion string) error {
	var failure error
	err := lifecycle.Poll(ctx, func() bool {
		for _, informer := range informers {
			seen, err := hasSeen(informer, resourceVersion)
			if failure = err; !seen {
				return err != nil
			}
		}
		return true
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		return fmt.Errorf("apiserver: informer of %s at resourceVersion %q: %w", resource, resourceVersion, err)
	}
	return nil
}

// waitInForce waits until requests are served by the CRDs, and call the webhooks, that
// informers have.
func (s *Server) waitInForce(ctx context.Context, resource schema.GroupResource) error {
	if resource == definitions {
		return s.waitStorages(ctx)
	}
	source := s.generic.acknowledged.sources[resource]
	if source == nil || source.inForce == nil {
		return nil
	}
	if err := lifecycle.Poll(ctx, source.inForce); err != nil {
		return fmt.Errorf("apiserver: old %s are in force: %w", resource, err)
	}
	return nil
}

// hasSeen tells whether the store of an informer is at resourceVersion.
func hasSeen(informer cache.SharedIndexInformer, resourceVersion string) (bool, error) {
	if unneeded(informer) {
		return true, nil
	}
	at := informer.GetStore().LastStoreSyncResourceVersion()
	if at == "" {
		return false, nil
	}
	order, err := resourceversion.CompareResourceVersion(at, resourceVersion)
	return order >= 0, err
}

// toldTimeout is when waitTold believes that a handler was never told: one that
// began after a deletion, or whose informer had to list anew.
const toldTimeout = time.Second

// waitTold waits for the handlers of informers that have seen so many changes at
// resourceVersion.
func waitTold(ctx context.Context, informers []cache.SharedIndexInformer, resourceVersion string, changes int) {
	limit, cancel := context.WithTimeout(ctx, toldTimeout)
	defer cancel()
	for _, informer := range informers {
		if told, ok := informer.(*toldInformer); ok {
			_ = lifecycle.Poll(limit, func() bool { return told.at(resourceVersion, changes) })
		}
	}
}

// waitStorages waits until custom resources are served as their CRDs say.
func (s *Server) waitStorages(ctx context.Context) error {
	var failure error
	err := lifecycle.Poll(ctx, func() bool {
		current, err := s.generic.storages.current()
		failure = err
		return current || err != nil
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		return fmt.Errorf("apiserver: custom resources are served by CRDs that have changed: %w", err)
	}
	return nil
}

// runningInformers are the server's own, of whatever version.
func (s *Server) runningInformers() map[schema.GroupResource][]cache.SharedIndexInformer {
	all := map[schema.GroupResource][]cache.SharedIndexInformer{}
	// With a closed channel upstream looks once instead of waiting.
	now := make(chan struct{})
	close(now)
	add := func(started map[reflect.Type]bool, scheme *runtime.Scheme, informer func(schema.GroupVersionResource, runtime.Object) (cache.SharedIndexInformer, error)) {
		for object := range started {
			example, ok := reflect.New(object.Elem()).Interface().(runtime.Object)
			if !ok {
				continue
			}
			for _, kind := range kinds(scheme, example) {
				resource, _ := meta.UnsafeGuessKindToResource(kind)
				if one, err := informer(resource, example); err == nil {
					all[resource.GroupResource()] = append(all[resource.GroupResource()], one)
				}
			}
		}
	}
	add(s.generic.informers.WaitForCacheSync(now), scheme.Scheme, func(_ schema.GroupVersionResource, example runtime.Object) (cache.SharedIndexInformer, error) {
		return asMade(s.generic.informers, example), nil
	})
	add(s.extensions.Informers.WaitForCacheSync(now), apiextensionsscheme.Scheme, func(resource schema.GroupVersionResource, _ runtime.Object) (cache.SharedIndexInformer, error) {
		informer, err := s.extensions.Informers.ForResource(resource)
		if err != nil {
			return nil, err
		}
		return informer.Informer(), nil
	})
	add(s.aggregator.APIRegistrationInformers.WaitForCacheSync(now), aggregatorscheme.Scheme, func(resource schema.GroupVersionResource, _ runtime.Object) (cache.SharedIndexInformer, error) {
		informer, err := s.aggregator.APIRegistrationInformers.ForResource(resource)
		if err != nil {
			return nil, err
		}
		return informer.Informer(), nil
	})
	return all
}

// asMade returns the informer of a factory as it was made: it may be a toldInformer. Since
// client-go 0.37 ForResource wraps it. It must exist.
func asMade(factory clientgoinformers.SharedInformerFactory, example runtime.Object) cache.SharedIndexInformer {
	return factory.InformerFor(example, nil)
}

// kinds are what a scheme calls the objects of an informer.
func kinds(scheme *runtime.Scheme, example runtime.Object) []schema.GroupVersionKind {
	kinds, _, err := scheme.ObjectKinds(example)
	if err != nil {
		return nil
	}
	return kinds
}
