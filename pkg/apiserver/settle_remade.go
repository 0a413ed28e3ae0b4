package apiserver

import (
	"context"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"
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

// old tells whether there may be a storage by an older state of the definition.
func (m *madeStorages) old(crd *apiextensionsv1.CustomResourceDefinition) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok := m.last[schema.GroupResource{Group: crd.Spec.Group, Resource: crd.Status.AcceptedNames.Plural}]
	return ok && last.uid == crd.UID && last.generation < crd.Generation
}

// waitRemade waits until custom resources that are in use are served as their
// definitions say. Only requests show it, and what cannot be served does not keep it
// waiting for long.
func (s *Server) waitRemade(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, toldTimeout)
	defer cancel()
	_ = lifecycle.Poll(limit, func() bool {
		all, err := s.generic.made.definitions.List(labels.Everything())
		if err != nil {
			return true
		}
		done := true
		for _, crd := range all {
			if s.generic.made.old(crd) && s.ask(limit, crd) {
				done = done && !s.generic.made.old(crd)
			}
		}
		return done
	})
}

// ask asks for a custom resource, unless it is not served.
func (s *Server) ask(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) bool {
	if crd.DeletionTimestamp != nil || !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		return false
	}
	for _, version := range crd.Spec.Versions {
		if version.Served {
			_ = s.generic.client.CoreV1().RESTClient().Get().
				AbsPath("/apis", crd.Spec.Group, version.Name, crd.Status.AcceptedNames.Plural).
				Param("limit", "1").
				SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").
				Do(ctx).Error() // Whatever the answer is.
			return true
		}
	}
	return false
}
