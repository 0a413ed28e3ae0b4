// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// shared are the kinds with informers in the API server. They include all kinds that the
// quota controller needs more than metadata of.
var shared = map[schema.GroupVersion][]string{
	{Version: "v1"}: {"limitranges", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "pods",
		"resourcequotas", "secrets", "serviceaccounts", "services"},
	{Group: "admissionregistration.k8s.io", Version: "v1"}: {"mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
		"mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations"},
	{Group: "discovery.k8s.io", Version: "v1"}:             {"endpointslices"},
	{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: {"flowschemas", "prioritylevelconfigurations"},
	{Group: "networking.k8s.io", Version: "v1"}:            {"ingressclasses", "ipaddresses", "servicecidrs"},
	{Group: "node.k8s.io", Version: "v1"}:                  {"runtimeclasses"},
	{Group: "rbac.authorization.k8s.io", Version: "v1"}:    {"clusterrolebindings", "clusterroles", "rolebindings", "roles"},
	{Group: "resource.k8s.io", Version: "v1"}:              {"deviceclasses", "resourceclaims", "resourceslices"},
	{Group: "scheduling.k8s.io", Version: "v1"}:            {"priorityclasses"},
	{Group: "storage.k8s.io", Version: "v1"}:               {"csidrivers", "storageclasses", "volumeattachments"},
}

// objectInformers are informers of all kinds, like upstream's
// informerfactory.InformerFactory, which never stops an informer. Here the informer of a
// custom resource stops when no controller uses it any more, soon after its CRD has been
// deleted.
type objectInformers struct {
	ctx    context.Context
	typed  informers.SharedInformerFactory
	client metadata.Interface
	// firstUse is Config.FirstUse.
	firstUse func(context.Context, schema.GroupResource) <-chan struct{}

	mu      sync.Mutex
	objects map[schema.GroupVersionResource]*objectInformer
	running sync.WaitGroup
	// usedLater is called when the informer of a resource has synced that had no objects
	// at first. It may be nil.
	usedLater func(schema.GroupResource)
}

// onUsedLater sets usedLater.
func (o *objectInformers) onUsedLater(f func(schema.GroupResource)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.usedLater = f
}

func newObjectInformers(ctx context.Context, typed informers.SharedInformerFactory, client metadata.Interface,
	firstUse func(context.Context, schema.GroupResource) <-chan struct{},
) *objectInformers {
	if firstUse == nil {
		used := make(chan struct{})
		close(used)
		firstUse = func(context.Context, schema.GroupResource) <-chan struct{} { return used }
	}
	return &objectInformers{ctx: ctx, typed: typed, client: client, firstUse: firstUse, objects: map[schema.GroupVersionResource]*objectInformer{}}
}

// ForResource returns the informer of a kind. Start starts it.
func (o *objectInformers) ForResource(resource schema.GroupVersionResource) (informers.GenericInformer, error) {
	if slices.Contains(shared[resource.GroupVersion()], resource.Resource) {
		return o.typed.ForResource(resource)
	}
	informer, _, err := o.ofObjects(resource)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	informer.given = true
	o.mu.Unlock()
	return informer, nil
}

// ofObjects returns the informer of a kind without one in the API server, and whether it
// has not been asked for before.
func (o *objectInformers) ofObjects(resource schema.GroupVersionResource) (_ *objectInformer, isNew bool, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	informer, ok := o.objects[resource]
	if !ok {
		generic := metadatainformer.NewFilteredMetadataInformer(o.client, resource, metav1.NamespaceAll, 0,
			cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, nil)
		if err := generic.Informer().SetTransform(stripMetadata); err != nil {
			return nil, false, err
		}
		informer = &objectInformer{SharedIndexInformer: generic.Informer(), generic: generic, all: o, resource: resource,
			used: o.firstUse(o.ctx, resource.GroupResource()), failed: make(chan struct{})}
		if err := informer.SetWatchErrorHandlerWithContext(informer.watchFails); err != nil {
			return nil, false, err
		}
		o.objects[resource] = informer
	}
	return informer, !ok, nil
}

// stopUnused stops the informers of other kinds that no controller has asked for. The
// others stop after their last use.
func (o *objectInformers) stopUnused(kinds map[schema.GroupVersionResource]struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for resource, informer := range o.objects {
		if _, known := kinds[resource]; !known && !informer.given && informer.cancel != nil {
			informer.cancel()
			delete(o.objects, resource)
		}
	}
}

// Start starts the informers that are not running. All stop when the context of
// newObjectInformers ends, and not with the channel, which costs each watch a goroutine.
func (o *objectInformers) Start(<-chan struct{}) {
	o.typed.StartWithContext(o.ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, informer := range o.objects {
		if informer.cancel == nil {
			ctx, cancel := context.WithCancel(o.ctx)
			informer.cancel = cancel
			unused := !informer.inUse()
			o.running.Go(func() { informer.runWhenUsed(ctx, unused) })
		}
	}
}

// wait returns when all informers have ended.
func (o *objectInformers) wait() { o.running.Wait() }

// objectInformer is the informer of one kind. It counts the controllers that use it.
type objectInformer struct {
	cache.SharedIndexInformer
	generic  informers.GenericInformer
	all      *objectInformers
	resource schema.GroupVersionResource
	used     <-chan struct{} // closed when there may be objects
	failed   chan struct{}   // closed when a list or watch has failed
	failOnce sync.Once
	// all.mu guards the fields below.
	cancel context.CancelFunc
	users  int
	given  bool // to a controller
}

// inUse reports whether there may be objects. If not, the informer does not run and
// counts as synced.
func (i *objectInformer) inUse() bool {
	select {
	case <-i.used:
		return true
	default:
		return false
	}
}

// runWhenUsed runs the informer from its first use on. unused means that the use is yet
// to come.
func (i *objectInformer) runWhenUsed(ctx context.Context, unused bool) {
	select {
	case <-ctx.Done():
		return
	case <-i.used:
	}
	if unused {
		i.all.running.Go(func() { i.reportUse(ctx) })
	}
	i.RunWithContext(ctx)
}

// reportUse calls usedLater when the informer has synced.
func (i *objectInformer) reportUse(ctx context.Context) {
	if !cache.WaitFor(ctx, "", i.HasSyncedChecker()) {
		return
	}
	i.all.mu.Lock()
	usedLater := i.all.usedLater
	i.all.mu.Unlock()
	if usedLater != nil {
		usedLater(i.resource.GroupResource())
	}
}

func (i *objectInformer) watchFails(ctx context.Context, r *cache.Reflector, err error) {
	i.failOnce.Do(func() { close(i.failed) })
	cache.DefaultWatchErrorHandler(ctx, r, err)
}

// waitSynced returns when the informer has synced or failed, or ctx ends. An informer
// fails for long if its objects cannot be converted, and for good without its CRD.
func (i *objectInformer) waitSynced(ctx context.Context) {
	if i.HasSynced() {
		return // perhaps without objects
	}
	select {
	case <-i.HasSyncedChecker().Done():
	case <-i.failed:
	case <-ctx.Done():
	}
}

func (i *objectInformer) HasSynced() bool { return !i.inUse() || i.SharedIndexInformer.HasSynced() }

// IsStopped reports whether the informer has stopped, or will never run.
func (i *objectInformer) IsStopped() bool {
	i.all.mu.Lock()
	defer i.all.mu.Unlock()
	return i.all.objects[i.resource] != i || i.SharedIndexInformer.IsStopped()
}

func (i *objectInformer) Informer() cache.SharedIndexInformer { return i }
func (i *objectInformer) Lister() cache.GenericLister         { return i.generic.Lister() }

// GetController returns a controller that the garbage collector and the quota controller
// run while the kind exists.
func (i *objectInformer) GetController() cache.Controller {
	return informerUser{Controller: i.SharedIndexInformer.GetController(), informer: i, synced: !i.inUse()}
}

// informerUser is one use of an objectInformer. The informer stops after its last use.
type informerUser struct {
	cache.Controller
	informer *objectInformer
	// synced is true if there were no objects when the use began. All later ones are
	// changes.
	synced bool
}

func (i informerUser) HasSynced() bool { return i.synced || i.informer.HasSynced() }

const (
	// maxResourceVersion is the largest resource version of etcd.
	maxResourceVersion = "9223372036854775807"
	// minResourceVersion is before the resource version of any list.
	minResourceVersion = "1"
)

// LastSyncResourceVersion returns the resource version up to which the informer is
// synced. The storage version migrator waits for it, and fails if it is not a number.
func (i informerUser) LastSyncResourceVersion() string {
	if !i.informer.inUse() {
		return maxResourceVersion
	}
	if version := i.Controller.LastSyncResourceVersion(); version != "" {
		return version
	}
	return minResourceVersion
}

// Run uses the informer until stop is closed.
func (i informerUser) Run(stop <-chan struct{}) {
	i.informer.use(1)
	defer i.informer.use(-1)
	<-stop
}

func (i *objectInformer) use(n int) {
	i.all.mu.Lock()
	defer i.all.mu.Unlock()
	i.users += n
	if i.users == 0 && i.all.objects[i.resource] == i {
		i.cancel()
		delete(i.all.objects, i.resource)
	}
}

// stripMetadata removes metadata that no controller reads.
func stripMetadata(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
		accessor.SetAnnotations(nil)
		accessor.SetLabels(nil)
	}
	return object, nil
}
