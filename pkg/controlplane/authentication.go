// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// SetAuthentication replaces the JWT issuers of Config.Authentication.Configuration while
// the control plane serves. See apiserver.Server.SetAuthentication.
func (s *Server) SetAuthentication(ctx context.Context, c *apiserverv1.AuthenticationConfiguration) error {
	if err := s.apiserver.SetAuthentication(ctx, c); err != nil {
		return fmt.Errorf("controlplane: %w", apiserverError(err))
	}
	return nil
}
