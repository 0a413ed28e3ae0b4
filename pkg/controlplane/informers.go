package controlplane

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// WaitForInformers returns when the control plane itself knows what has happened
// to resource up to resourceVersion, which is that of an object of resource when
// it was created, updated or deleted. What authorizes and admits requests works
// from informers, which lag behind what was written by a millisecond or so: a test
// that creates a webhook configuration or a role binding and expects the next
// request to meet it waits here first. Of a resource that the API server does not
// watch there is nothing to wait for. See apiserver.Server.WaitForInformers.
//
// The error is the cause of ctx, when that ends first, and names the resource.
func (s *Server) WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error {
	if err := s.apiserver.WaitForInformers(ctx, resource, resourceVersion); err != nil {
		return fmt.Errorf("controlplane: %w", err)
	}
	return nil
}
