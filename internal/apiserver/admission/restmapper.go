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
	"k8s.io/client-go/restmapper"
)

const (
	// maxDiscoveryAge is the age of a discovery at which the next one is due, as
	// upstream's. Other servers may have written, and an aggregated server may serve
	// other APIs.
	maxDiscoveryAge = 30 * time.Second
	// minDiscoveryAge is the same for an unknown kind, right after a change: an API is
	// served a moment after the write that defines it. The age grows with the time since
	// the change.
	minDiscoveryAge = 20 * time.Millisecond
	// discoveryShare is the least pause between two discoveries, in multiples of the time
	// that one takes: they must not slow down the installation of many APIs.
	discoveryShare = 5
)

// RESTMapper is the REST mapper of admission plugins. It discovers the APIs again after
// the server has acknowledged a change of them. Upstream's discovers them every 30
// seconds, and a policy whose parameters have a new kind denies all requests until then.
type RESTMapper struct {
	client  discovery.DiscoveryInterface
	defined func() uint64

	mu       sync.Mutex
	latest   meta.RESTMapper // nil before the first discovery
	revision uint64          // of the last known change
	changed  time.Time       // when it was first known
	outdated bool            // latest is older
	ended    time.Time       // the end of the last discovery
	took     time.Duration   // its time
}

var _ meta.ResettableRESTMapper = &RESTMapper{}

// NewRESTMapper returns a REST mapper. defined returns the revision of the last
// acknowledged change of an API.
func NewRESTMapper(client discovery.DiscoveryInterface, defined func() uint64) *RESTMapper {
	return &RESTMapper{client: client, defined: defined, outdated: true}
}

// Initialize implements admission.PluginInitializer. It replaces upstream's REST mapper.
func (m *RESTMapper) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsRESTMapper); ok {
		wants.SetRESTMapper(m)
	}
}

// Reset implements meta.ResettableRESTMapper.
func (m *RESTMapper) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outdated = true
}

// current returns the mapper for a known kind, or for one that the mapper before did not
// know. Calls at the same time share a discovery.
func (m *RESTMapper) current(unknown bool) (meta.RESTMapper, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	began := time.Now()
	if revision := m.defined(); revision != m.revision || m.changed.IsZero() {
		m.revision, m.changed, m.outdated = revision, began, true
	}
	due := maxDiscoveryAge
	if unknown {
		due = min(due, max(minDiscoveryAge, began.Sub(m.changed)/2))
	}
	age := began.Sub(m.ended)
	if m.latest != nil && (age < discoveryShare*m.took || !m.outdated && age < due) {
		return m.latest, nil
	}
	groups, err := restmapper.GetAPIGroupResources(m.client)
	m.ended = time.Now()
	m.took = m.ended.Sub(began)
	if err == nil {
		m.latest, m.outdated = restmapper.NewDiscoveryRESTMapper(groups), false
	}
	if m.latest == nil {
		return nil, err
	}
	return m.latest, nil
}

// find calls f, and again if it does not find a kind or resource.
func find[T any](m *RESTMapper, f func(meta.RESTMapper) (T, error)) (found T, err error) {
	for _, unknown := range []bool{false, true} {
		var current meta.RESTMapper
		if current, err = m.current(unknown); err != nil {
			break
		}
		if found, err = f(current); !meta.IsNoMatchError(err) {
			break
		}
	}
	return found, err
}

// KindFor implements meta.RESTMapper.
func (m *RESTMapper) KindFor(resource schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	return find(m, func(current meta.RESTMapper) (schema.GroupVersionKind, error) { return current.KindFor(resource) })
}

// KindsFor implements meta.RESTMapper.
func (m *RESTMapper) KindsFor(resource schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	return find(m, func(current meta.RESTMapper) ([]schema.GroupVersionKind, error) { return current.KindsFor(resource) })
}

// ResourceFor implements meta.RESTMapper.
func (m *RESTMapper) ResourceFor(input schema.GroupVersionResource) (schema.GroupVersionResource, error) {
	return find(m, func(current meta.RESTMapper) (schema.GroupVersionResource, error) { return current.ResourceFor(input) })
}

// ResourcesFor implements meta.RESTMapper.
func (m *RESTMapper) ResourcesFor(input schema.GroupVersionResource) ([]schema.GroupVersionResource, error) {
	return find(m, func(current meta.RESTMapper) ([]schema.GroupVersionResource, error) {
		return current.ResourcesFor(input)
	})
}

// RESTMapping implements meta.RESTMapper.
func (m *RESTMapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	return find(m, func(current meta.RESTMapper) (*meta.RESTMapping, error) {
		return current.RESTMapping(kind, versions...)
	})
}

// RESTMappings implements meta.RESTMapper.
func (m *RESTMapper) RESTMappings(kind schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	return find(m, func(current meta.RESTMapper) ([]*meta.RESTMapping, error) {
		return current.RESTMappings(kind, versions...)
	})
}

// ResourceSingularizer implements meta.RESTMapper.
func (m *RESTMapper) ResourceSingularizer(resource string) (string, error) {
	return find(m, func(current meta.RESTMapper) (string, error) { return current.ResourceSingularizer(resource) })
}
