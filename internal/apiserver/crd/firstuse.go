package crd

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericregistry "k8s.io/apiserver/pkg/registry/generic"

	"github.com/kubembed/kubembed/internal/keyspace"
)

// FirstUses are channels that are closed when a custom resource is asked for first.
// They stay when its definition is deleted: it may be defined again.
type FirstUses struct {
	mu        sync.Mutex
	resources map[schema.GroupResource]chan struct{}
}

// Of returns the channel of a resource.
func (f *FirstUses) Of(resource schema.GroupResource) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	used, ok := f.resources[resource]
	if !ok {
		used = make(chan struct{})
		if f.resources == nil {
			f.resources = map[schema.GroupResource]chan struct{}{}
		}
		f.resources[resource] = used
	}
	return used
}

// Mark closes the channel of a resource.
func (f *FirstUses) Mark(resource schema.GroupResource) {
	used := f.Of(resource)
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-used:
	default:
		close(used)
	}
}

// markingGetter marks custom resources when upstream makes their storage, which it
// does for the first request, and for the first after their definition has changed.
type markingGetter struct {
	genericregistry.RESTOptionsGetter
	uses *FirstUses
}

// MarkUses returns getter with its custom resources marked in uses.
func MarkUses(getter genericregistry.RESTOptionsGetter, uses *FirstUses) genericregistry.RESTOptionsGetter {
	return markingGetter{getter, uses}
}

func (o markingGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (genericregistry.RESTOptions, error) {
	o.uses.Mark(resource)
	return o.RESTOptionsGetter.GetRESTOptions(resource, example)
}

// Stored tells whether there may be objects of a custom resource in etcd.
func Stored(ctx context.Context, client *clientv3.Client, keys keyspace.Keyspace, resource schema.GroupResource) bool {
	objects, err := client.Get(ctx, keys.CustomResourcePrefix(resource), clientv3.WithPrefix(), clientv3.WithCountOnly())
	return err != nil || objects.Count > 0
}
