// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// SetAuthorization replaces the chain of Config.Authorization.Modes or Configuration
// while the control plane runs: see apiserver.Server.SetAuthorization.
func (s *Server) SetAuthorization(ctx context.Context, c *apiserverv1.AuthorizationConfiguration) error {
	if err := s.apiserver.SetAuthorization(ctx, c); err != nil {
		return fmt.Errorf("controlplane: %w", apiserverError(err))
	}
	return nil
}
