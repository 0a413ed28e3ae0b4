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

// shared are the kinds for which the API server has informers, among them those
// of which the quota wants to see more than metadata.
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

// objectInformers are informers of every kind. It is upstream's
// informerfactory.InformerFactory, which never ends an informer: one of custom
// resources ends with the controllers' interest in it, which is soon after their
// definition has been deleted.
type objectInformers struct {
	ctx    context.Context
	typed  informers.SharedInformerFactory
	client metadata.Interface
	// firstUse is Config.FirstUse.
	firstUse func(context.Context, schema.GroupResource) <-chan struct{}

	mu      sync.Mutex
	objects map[schema.GroupVersionResource]*objectInformer
	running sync.WaitGroup
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
	o.mu.Lock()
	defer o.mu.Unlock()
	informer, ok := o.objects[resource]
	if !ok {
		generic := metadatainformer.NewFilteredMetadataInformer(o.client, resource, metav1.NamespaceAll, 0,
			cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, nil)
		if err := generic.Informer().SetTransform(trim); err != nil {
			return nil, err
		}
		informer = &objectInformer{SharedIndexInformer: generic.Informer(), generic: generic, all: o, resource: resource,
			used: o.firstUse(o.ctx, resource.GroupResource())}
		o.objects[resource] = informer
	}
	return informer, nil
}

// Start starts what has not been started. All of it ends with the context of
// newObjectInformers, which is that of stop.
func (o *objectInformers) Start(stop <-chan struct{}) {
	o.typed.Start(stop)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, informer := range o.objects {
		if informer.cancel == nil {
			ctx, cancel := context.WithCancel(o.ctx)
			informer.cancel = cancel
			o.running.Go(func() {
				select {
				case <-ctx.Done():
				case <-informer.used:
					informer.RunWithContext(ctx)
				}
			})
		}
	}
}

// wait returns when all informers have ended.
func (o *objectInformers) wait() { o.running.Wait() }

// objectInformer is the informer of one kind, with the controllers that want it.
type objectInformer struct {
	cache.SharedIndexInformer
	generic  informers.GenericInformer
	all      *objectInformers
	resource schema.GroupVersionResource
	used     <-chan struct{} // closed when there may be objects
	// Under the lock of all.
	cancel context.CancelFunc
	users  int
}

// inUse tells whether there may be objects. Where there are none the informer does
// not run, and knows all of them.
func (i *objectInformer) inUse() bool {
	select {
	case <-i.used:
		return true
	default:
		return false
	}
}

func (i *objectInformer) HasSynced() bool { return !i.inUse() || i.SharedIndexInformer.HasSynced() }

func (i *objectInformer) Informer() cache.SharedIndexInformer { return i }
func (i *objectInformer) Lister() cache.GenericLister         { return i.generic.Lister() }

// GetController returns what the garbage collector and the quota run for as
// long as the kind exists.
func (i *objectInformer) GetController() cache.Controller {
	return interest{Controller: i.SharedIndexInformer.GetController(), informer: i}
}

type interest struct {
	cache.Controller
	informer *objectInformer
}

func (i interest) HasSynced() bool { return i.informer.HasSynced() }

const (
	// everyVersion is at or after every resource version that etcd will have.
	everyVersion = "9223372036854775807"
	// noVersion is before every resource version of a list.
	noVersion = "1"
)

// LastSyncResourceVersion is the resource version up to which the informer knows all objects. The
// storage version migrator waits for it, and gives up where it is not a number.
func (i interest) LastSyncResourceVersion() string {
	if !i.informer.inUse() {
		return everyVersion
	}
	if version := i.Controller.LastSyncResourceVersion(); version != "" {
		return version
	}
	return noVersion
}

// Run returns when stop is closed.
func (i interest) Run(stop <-chan struct{}) {
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

// trim drops what no controller looks at.
func trim(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
		accessor.SetAnnotations(nil)
		accessor.SetLabels(nil)
	}
	return object, nil
}
