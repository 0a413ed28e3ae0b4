// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
)

const (
	// unknownKindAge is the age of discovery from which an unknown kind is looked for
	// again: an API may be served a moment after the write that defines it.
	unknownKindAge = time.Second
	// discoveryAge is the age from which any kind is, as upstream does. Other servers may
	// have written, and an aggregated server may serve other APIs.
	discoveryAge = 30 * time.Second
)

// RESTMapper is the REST mapper of admission plugins. It discovers the APIs again after
// the server has acknowledged a change of them. Upstream's discovers them every 30
// seconds, and a policy whose parameters have a new kind denies all requests until then.
type RESTMapper struct {
	next       *restmapper.DeferredDiscoveryRESTMapper
	discovered *discoveredAPIs
}

var _ meta.RESTMapper = &RESTMapper{}

// NewRESTMapper returns a REST mapper. defined returns the revision of the last
// acknowledged change of an API.
func NewRESTMapper(client discovery.DiscoveryInterface, defined func() uint64) *RESTMapper {
	discovered := &discoveredAPIs{CachedDiscoveryInterface: memory.NewMemCacheClient(client), defined: defined}
	return &RESTMapper{next: restmapper.NewDeferredDiscoveryRESTMapper(discovered), discovered: discovered}
}

// Initialize implements admission.PluginInitializer. It replaces upstream's REST mapper.
func (m *RESTMapper) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsRESTMapper); ok {
		wants.SetRESTMapper(m)
	}
}

func (m *RESTMapper) current() meta.RESTMapper {
	if m.discovered.outdated(discoveryAge) {
		m.next.Reset()
	}
	return m.next
}

// KindFor implements meta.RESTMapper.
func (m *RESTMapper) KindFor(resource schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	return m.current().KindFor(resource)
}

// KindsFor implements meta.RESTMapper.
func (m *RESTMapper) KindsFor(resource schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	return m.current().KindsFor(resource)
}

// ResourceFor implements meta.RESTMapper.
func (m *RESTMapper) ResourceFor(input schema.GroupVersionResource) (schema.GroupVersionResource, error) {
	return m.current().ResourceFor(input)
}

// ResourcesFor implements meta.RESTMapper.
func (m *RESTMapper) ResourcesFor(input schema.GroupVersionResource) ([]schema.GroupVersionResource, error) {
	return m.current().ResourcesFor(input)
}

// RESTMapping implements meta.RESTMapper.
func (m *RESTMapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	return m.current().RESTMapping(kind, versions...)
}

// RESTMappings implements meta.RESTMapper.
func (m *RESTMapper) RESTMappings(kind schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	return m.current().RESTMappings(kind, versions...)
}

// ResourceSingularizer implements meta.RESTMapper.
func (m *RESTMapper) ResourceSingularizer(resource string) (string, error) {
	return m.current().ResourceSingularizer(resource)
}

// discoveredAPIs are the APIs of one discovery.
type discoveredAPIs struct {
	discovery.CachedDiscoveryInterface
	defined func() uint64

	mu       sync.Mutex
	revision uint64
	at       time.Time
}

// outdated reports whether APIs have changed since the discovery, or it is too old.
func (d *discoveredAPIs) outdated(age time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.revision != d.defined() || time.Since(d.at) > age
}

// Fresh is called for unknown kinds.
func (d *discoveredAPIs) Fresh() bool { return !d.outdated(unknownKindAge) }

// Invalidate is called before a discovery.
func (d *discoveredAPIs) Invalidate() {
	d.mu.Lock()
	d.revision, d.at = d.defined(), time.Now()
	d.mu.Unlock()
	d.CachedDiscoveryInterface.Invalidate()
}
