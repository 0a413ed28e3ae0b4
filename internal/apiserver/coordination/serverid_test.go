// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package coordination

import (
	"net"
	"testing"
)

// TestServerID: servers on one machine have different IDs, and each keeps its ID after a
// restart at the same address.
func TestServerID(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		for _, advertise := range []net.IP{net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 2)} {
			id, err := ServerID(advertise, listener)
			if err != nil {
				t.Fatal(err)
			}
			ids[id] = true
			again, err := ServerID(advertise, listener)
			if err != nil || again != id {
				t.Errorf("ServerID after a restart: got %q, %v, want %q", again, err, id)
			}
		}
	}
	if len(ids) != 4 {
		t.Errorf("got %d IDs, want 4", len(ids))
	}
}
