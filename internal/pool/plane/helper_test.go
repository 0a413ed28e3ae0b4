// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"testing"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// startFor starts a control plane that stops at the end of the test.
func startFor(tb testing.TB, options protocol.Options, quota int64) *Plane {
	tb.Helper()
	p, err := start(tb.Context(), options, quota)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}
