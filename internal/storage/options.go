// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"maps"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/kubernetes/pkg/kubeapiserver"
)

// RESTOptionsGetter wraps upstream's getter so that storages are built from the shared
// client. The same resources as upstream's go without a watch cache, unless Options has
// others. Upstream also creates storages of resources that it does not serve: resources
// for which served reports false get no cache and no metrics. A nil served means that all
// resources are served.
func (b *Backend) RESTOptionsGetter(upstream generic.RESTOptionsGetter, served func(schema.GroupResource) bool) generic.RESTOptionsGetter {
	sizes := kubeapiserver.DefaultWatchCacheSizes()
	maps.Copy(sizes, b.options.WatchCacheSizes)
	return &restOptionsGetter{backend: b, upstream: upstream, served: served, sizes: sizes}
}

type restOptionsGetter struct {
	backend  *Backend
	upstream generic.RESTOptionsGetter
	served   func(schema.GroupResource) bool
	sizes    map[schema.GroupResource]int
}

func (g *restOptionsGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	opts, err := g.upstream.GetRESTOptions(resource, example)
	if err != nil {
		return opts, err
	}
	size, sized := g.sizes[resource]
	uncached := sized && size == 0 || g.backend.options.DisableWatchCache
	if g.served != nil && !g.served(resource) {
		uncached = true
		opts.CountMetricPollPeriod = 0
	}
	opts.Decorator = g.backend.decorator(!uncached)
	return opts, nil
}
