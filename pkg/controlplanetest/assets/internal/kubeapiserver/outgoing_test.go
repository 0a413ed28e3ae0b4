// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"context"
	"errors"
	"testing"
)

// TestLastSpans: they are sent after the signal that ends the process, in limited time.
func TestLastSpans(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := lastly(ctx, func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			return errors.New("without a deadline")
		}
		return ctx.Err()
	})
	if err != nil {
		t.Error(err)
	}
}
