package apiserver

import (
	"context"

	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/apiserver/crd"
)

// firstUse returns a channel that is closed when there may be objects of a custom
// resource: when it has been asked for since the server runs, by whomever, when some
// are stored from before, or when other servers work on the same etcd. For any other
// resource it is closed. It is for controllers of every kind: their informers would
// have the server prepare, and keep in memory, what nobody uses. ctx bounds the call.
func (s *Server) firstUse(ctx context.Context, resource schema.GroupResource) <-chan struct{} {
	used := s.generic.uses.Of(resource)
	select {
	case <-used:
		return used
	default:
	}
	if s.config.Shared || !s.custom(resource) || crd.Stored(ctx, s.backend.Client(), s.backend.Keyspace(), resource) {
		s.generic.uses.Mark(resource)
	}
	return used
}

func (s *Server) custom(resource schema.GroupResource) bool {
	_, err := s.crds().Get(resource.String())
	return err == nil
}

// crds looks up CustomResourceDefinitions in the server's informer.
func (s *Server) crds() listers.CustomResourceDefinitionLister {
	return s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister()
}
