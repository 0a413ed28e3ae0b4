// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	upstreamflagz "k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/access"
)

func init() {
	access.Of = func(server any) access.Internals { return internals{server.(*Server)} }
	access.ValidateOptional = func(config any) field.ErrorList { return config.(Config).validateOptional() }
	access.SetAdopt = func(config any, adopt func()) { config.(*Config).adopt = adopt }
	access.SetProxyClient = func(config any, cert, key string) {
		config.(*Config).proxyClient.cert, config.(*Config).proxyClient.key = cert, key
	}
	access.SetFlags = func(config any, flags upstreamflagz.Reader) { config.(*Config).flags = flags }
	access.SetAuditStdout = func(config any) { config.(*Config).auditStdout = true }
	access.SetComponents = func(config any, names []string) { config.(*Config).components = names }
	access.SetLenient = func(config any) { config.(*Config).lenient = true }
	access.SetMetricsName = func(config any, name string) { config.(*Config).metricsName = name }
	access.SetStarting = func(config any, starting context.Context) { config.(*Config).starting = starting }
}

// internals is a Server as the other packages of this module see it. The interface
// documents its methods.
type internals struct{ s *Server }

var _ access.Internals = internals{}

func (i internals) ID() string { return i.s.serverConfig.APIServerID }

func (i internals) LoopbackConfig() *rest.Config { return i.s.loopbackConfig() }

func (i internals) Informers() informers.SharedInformerFactory { return i.s.sharedInformers }

func (i internals) NewInformers() informers.SharedInformerFactory {
	return newInformers(i.s.client, i.s.pods, i.s.informerName)
}

func (i internals) Serves(resource schema.GroupVersionResource) bool {
	return i.s.servesResource(resource)
}

func (i internals) FirstUse(ctx context.Context, resource schema.GroupResource) <-chan struct{} {
	return i.s.firstUse(ctx, resource)
}

func (i internals) WaitForStored(ctx context.Context, changes []access.StoredChange) error {
	return i.s.waiter().WaitForStored(ctx, changes)
}

func (i internals) WaitForWrites(ctx context.Context) error { return i.s.writes.Wait(ctx) }

func (i internals) Acknowledged(resource schema.GroupResource) uint64 {
	return i.s.acknowledged.Acknowledged(resource)
}

func (i internals) AggregatedAPIs() (aggregated []schema.GroupVersion) {
	lister := i.s.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices().Lister()
	all, _ := lister.List(labels.Everything()) // no error is possible
	for _, service := range all {
		if service.Spec.Service != nil {
			aggregated = append(aggregated, schema.GroupVersion{Group: service.Spec.Group, Version: service.Spec.Version})
		}
	}
	return aggregated
}

func (i internals) ReloadIdentities() error {
	// Upstream follows the files.
	_, _, err := writeKeyPair(i.s.config.Dir, frontProxyClient, i.s.config.PKI.FrontProxyClient())
	return err
}

func (i internals) WatchAPIs(ctx context.Context, changed func()) error {
	handler := cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, initial bool) {
			if _, custom := object.(*apiextensionsv1.CustomResourceDefinition); custom || !initial {
				changed()
			}
		},
		UpdateFunc: func(before, after any) {
			if differ(before, after) { // not a resync
				changed()
			}
		},
		DeleteFunc: func(any) { changed() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		i.s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer(),
		i.s.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices().Informer(),
	} {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return fmt.Errorf("apiserver: watch APIs: %w", err)
		}
		// Its only error is that the handler is not one of the informer's.
		context.AfterFunc(ctx, func() { _ = informer.RemoveEventHandler(registration) })
	}
	return nil
}

func (i internals) APIsDiscovered(preferred []*metav1.APIResourceList) bool {
	return i.s.waiter().Discovered(preferred)
}

func differ(before, after any) bool {
	a, errA := meta.Accessor(before)
	b, errB := meta.Accessor(after)
	return errA != nil || errB != nil || a.GetResourceVersion() != b.GetResourceVersion()
}

// servesResource reports whether a built-in resource is served in that version.
func (s *Server) servesResource(resource schema.GroupVersionResource) bool {
	return s.serverConfig.MergedResourceConfig.ResourceEnabled(resource)
}
