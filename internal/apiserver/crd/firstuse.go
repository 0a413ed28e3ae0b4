// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// FirstUses has a channel for each custom resource, which is closed at the first use of
// the resource. A channel stays when the CRD is deleted: the resource may be created
// again. The zero value is ready.
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

// Mark closes the channel of a resource. It may be called again.
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

// markingGetter calls Mark when upstream makes the storage of a custom resource: at the
// first request for it, and at the first request after its CRD has changed.
type markingGetter struct {
	genericregistry.RESTOptionsGetter
	uses *FirstUses
}

// MarkUses returns a getter that marks the custom resources whose options it returns in
// uses.
func MarkUses(getter genericregistry.RESTOptionsGetter, uses *FirstUses) genericregistry.RESTOptionsGetter {
	return markingGetter{getter, uses}
}

func (o markingGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (genericregistry.RESTOptions, error) {
	o.uses.Mark(resource)
	return o.RESTOptionsGetter.GetRESTOptions(resource, example)
}

// Stored reports whether etcd may have objects of a custom resource. It returns true if
// etcd does not answer before ctx ends.
func Stored(ctx context.Context, client *clientv3.Client, keys keyspace.Keyspace, resource schema.GroupResource) bool {
	objects, err := client.Get(ctx, keys.CustomResourcePrefix(resource), clientv3.WithPrefix(), clientv3.WithCountOnly())
	return err != nil || objects.Count > 0
}
