// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
)

// Reencrypt rewrites the objects that are not stored as Config.Encryption requires, and
// returns their number. After it has returned no error, all keys but the first can be
// removed, or all of them with WritePlaintext. Objects keep their content and get a new
// resource version. It may be called at any time, and again after an interruption. It
// stops with the error of ctx, or at the first object that cannot be read.
func (s *Server) Reencrypt(ctx context.Context) (int, error) {
	written, err := s.apiserver.Reencrypt(ctx)
	if err != nil {
		return written, fmt.Errorf("controlplane: %w", err)
	}
	return written, nil
}
