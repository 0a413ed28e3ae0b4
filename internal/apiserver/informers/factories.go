// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package informers has the API server's own informers, by which it authorizes and admits
// requests, and decorators of client-go's informers.
package informers

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apiextensionsscheme "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	apiextensionsinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/scheme"
	aggregatorinformers "k8s.io/kube-aggregator/pkg/client/informers/externalversions"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Factories are the server's own informers, by the server of the chain that serves their
// resources.
type Factories struct {
	Builtin     clientgoinformers.SharedInformerFactory
	CRDs        apiextensionsinformers.SharedInformerFactory
	APIServices aggregatorinformers.SharedInformerFactory
}

// Start starts the informers and waits until they have synced, or ctx ends. They run
// until running ends. Upstream starts them in its hooks, beside controllers that poll
// them every 100 ms, one after the other, and with a channel in place of a context: each
// of their watches then has one goroutine more.
func (f Factories) Start(ctx, running context.Context) error {
	f.Builtin.StartWithContext(running)
	f.CRDs.StartWithContext(running)
	f.APIServices.StartWithContext(running)

	var waiting []string
	err := lifecycle.Poll(ctx, func() bool {
		waiting = f.unsynced()
		return len(waiting) == 0
	})
	if err != nil {
		return fmt.Errorf("apiserver: informers did not sync: %s: %w", strings.Join(waiting, ", "), err)
	}
	return nil
}

// unsynced returns the kinds whose informers have not synced yet.
func (f Factories) unsynced() (kinds []string) {
	for _, factory := range []interface {
		WaitForCacheSync(<-chan struct{}) map[reflect.Type]bool
	}{f.Builtin, f.CRDs, f.APIServices} {
		for kind, synced := range factory.WaitForCacheSync(closed) {
			if !synced {
				kinds = append(kinds, kind.String())
			}
		}
	}
	slices.Sort(kinds)
	return kinds
}

// closed makes WaitForCacheSync return at once. With a closed channel, upstream looks
// once instead of waiting.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// ByResource returns the informers that have been started, by resource. A resource may
// have informers in several versions.
func (f Factories) ByResource() map[schema.GroupResource][]cache.SharedIndexInformer {
	all := map[schema.GroupResource][]cache.SharedIndexInformer{}
	add := func(types map[reflect.Type]bool, scheme *runtime.Scheme, informer func(schema.GroupVersionResource, runtime.Object) (cache.SharedIndexInformer, error)) {
		for object := range types {
			example, ok := reflect.TypeAssert[runtime.Object](reflect.New(object.Elem()))
			if !ok {
				continue
			}
			for _, kind := range kinds(scheme, example) {
				resource, _ := meta.UnsafeGuessKindToResource(kind)
				if started, err := informer(resource, example); err == nil {
					all[resource.GroupResource()] = append(all[resource.GroupResource()], started)
				}
			}
		}
	}
	add(f.Builtin.WaitForCacheSync(closed), scheme.Scheme, func(_ schema.GroupVersionResource, example runtime.Object) (cache.SharedIndexInformer, error) {
		return AsMade(f.Builtin, example), nil
	})
	add(f.CRDs.WaitForCacheSync(closed), apiextensionsscheme.Scheme, func(resource schema.GroupVersionResource, _ runtime.Object) (cache.SharedIndexInformer, error) {
		informer, err := f.CRDs.ForResource(resource)
		if err != nil {
			return nil, err
		}
		return informer.Informer(), nil
	})
	add(f.APIServices.WaitForCacheSync(closed), aggregatorscheme.Scheme, func(resource schema.GroupVersionResource, _ runtime.Object) (cache.SharedIndexInformer, error) {
		informer, err := f.APIServices.ForResource(resource)
		if err != nil {
			return nil, err
		}
		return informer.Informer(), nil
	})
	return all
}

// kinds returns the kinds of an informer's objects.
func kinds(scheme *runtime.Scheme, example runtime.Object) []schema.GroupVersionKind {
	kinds, _, err := scheme.ObjectKinds(example)
	if err != nil {
		return nil
	}
	return kinds
}
