package apiserver

import (
	"context"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

var definitions = apiextensionsv1.Resource("customresourcedefinitions")

// madeStorages tells by which definitions upstream has made the storage of custom
// resources last. It drops a storage when its handler is told that the definition has
// changed, which may be after the informer knows of it, and serves the old one until then.
type madeStorages struct {
	definitions listers.CustomResourceDefinitionLister

	mu   sync.Mutex
	last map[schema.GroupResource]definition
}

// definition is a CustomResourceDefinition whose spec is in a certain state.
type definition struct {
	uid        types.UID
	generation int64
}

// add is called while upstream makes a storage, by what the lister has.
func (m *madeStorages) add(resource schema.GroupResource) {
	crd, err := m.definitions.Get(resource.String())
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.last = map[schema.GroupResource]definition{}
	}
	m.last[resource] = definition{crd.UID, crd.Generation}
}

// outdated are the definitions that are served and have changed since a storage was
// made by them.
func (m *madeStorages) outdated() (crds []*apiextensionsv1.CustomResourceDefinition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for resource, last := range m.last {
		crd, err := m.definitions.Get(resource.String())
		switch {
		case err != nil || crd.UID != last.uid: // gone, with its storage
			delete(m.last, resource)
		case last.generation < crd.Generation && crd.DeletionTimestamp == nil && len(servedVersions(crd)) > 0:
			crds = append(crds, crd)
		}
	}
	return crds
}

// waitRemade waits until custom resources that are in use are served as their
// definitions say. Only requests show it, and what cannot be served does not keep it
// waiting for long.
func (s *Server) waitRemade(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, toldTimeout)
	defer cancel()
	_ = lifecycle.Poll(limit, func() bool {
		for _, crd := range s.generic.made.outdated() {
			s.ask(limit, crd)
		}
		return len(s.generic.made.outdated()) == 0
	})
}

// ask asks for a custom resource, in any version. The answer does not matter.
func (s *Server) ask(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) {
	for version := range servedVersions(crd) {
		_ = s.generic.client.CoreV1().RESTClient().Get().
			AbsPath("/apis", crd.Spec.Group, version, crd.Status.AcceptedNames.Plural).
			Param("limit", "1").
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").
			Do(ctx).Error()
		return
	}
}
