// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/apiserver/crd"
)

// firstUse returns a channel that is closed when there may be objects of a custom
// resource: when a client has asked for it since the start, when objects are stored from
// before, or when other servers work on the same etcd. For other resources it is closed.
// Controllers of every kind need it: their informers would have the server prepare unused
// resources and keep them in memory. ctx bounds the call.
func (s *Server) firstUse(ctx context.Context, resource schema.GroupResource) <-chan struct{} {
	used := s.uses.Of(resource)
	select {
	case <-used:
		return used
	default:
	}
	if s.config.Shared || !s.custom(resource) || crd.Stored(ctx, s.backend.Client(), s.backend.Keyspace(), resource) {
		s.uses.Mark(resource)
	}
	return used
}

// custom reports whether resource is a custom resource.
func (s *Server) custom(resource schema.GroupResource) bool {
	_, err := s.crds().Get(resource.String())
	return err == nil
}

// crds returns the lister of the server's informer of CustomResourceDefinitions.
func (s *Server) crds() listers.CustomResourceDefinitionLister {
	return s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister()
}
