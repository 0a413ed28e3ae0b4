// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// WaitForInformers returns when the control plane itself has seen the changes of resource
// up to resourceVersion, which is that of an object after its creation, update or
// deletion. Authorization and admission use informers, which lag behind writes by about a
// millisecond. A test that creates a webhook configuration or a role binding, and expects
// it to apply to the next request, waits here first. It returns at once for a resource
// that the API server does not watch. See apiserver.Server.WaitForInformers.
//
// If ctx ends first, the error is its cause and names the resource.
func (s *Server) WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error {
	if err := s.apiserver.WaitForInformers(ctx, resource, resourceVersion); err != nil {
		return fmt.Errorf("controlplane: %w", err)
	}
	return nil
}
