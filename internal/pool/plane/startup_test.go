// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"testing"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// TestStartWithoutEndpoints: the kubernetes Service gets no endpoints if the machine has
// no address of its family, and no start waits for them.
func TestStartWithoutEndpoints(t *testing.T) {
	p, err := Start(t.Context(), protocol.Options{ServiceCIDR: "fd00:10:96::/112"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
