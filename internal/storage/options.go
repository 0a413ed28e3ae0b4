package storage

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/kubernetes/pkg/kubeapiserver"
)

// RESTOptionsGetter wraps upstream's getter so that the storage it describes
// is built from the shared client. Which resources go without a watch cache
// is upstream's choice. Upstream makes storages of some resources that it then
// does not serve: those, which served tells, get no cache and no metrics. A
// nil served means that all are.
func (b *Backend) RESTOptionsGetter(upstream generic.RESTOptionsGetter, served func(schema.GroupResource) bool) generic.RESTOptionsGetter {
	return &restOptionsGetter{backend: b, upstream: upstream, served: served, uncached: kubeapiserver.DefaultWatchCacheSizes()}
}

type restOptionsGetter struct {
	backend  *Backend
	upstream generic.RESTOptionsGetter
	served   func(schema.GroupResource) bool
	uncached map[schema.GroupResource]int
}

func (g *restOptionsGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	opts, err := g.upstream.GetRESTOptions(resource, example)
	if err != nil {
		return opts, err
	}
	_, uncached := g.uncached[resource]
	if g.served != nil && !g.served(resource) {
		uncached = true
		opts.CountMetricPollPeriod = 0
	}
	opts.Decorator = g.backend.decorator(!uncached)
	return opts, nil
}
