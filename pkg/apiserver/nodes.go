package apiserver

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// Nodes lists what the server's own informer knows, which is all nodes, as they
// were a moment ago. What it returns is shared and must not be changed.
func (s *Server) Nodes() corelisters.NodeLister {
	return s.generic.informers.Core().V1().Nodes().Lister()
}

// Serves tells whether a built-in resource is served in that version.
func (s *Server) Serves(resource schema.GroupVersionResource) bool {
	return s.generic.server.MergedResourceConfig.ResourceEnabled(resource)
}
