// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http/httptest"
	"testing"
)

// TestUpgradeHeaderDoesNotHideAWrite: a write with the header of an upgrade is a write
// that WaitForWrites has to wait for.
func TestUpgradeHeaderDoesNotHideAWrite(t *testing.T) {
	const pod = "/api/v1/namespaces/default/pods/p"
	for path, want := range map[string]bool{
		"/api/v1/namespaces/default/configmaps": false,
		"/apis/example.com/v1/widgets":          false,
		pod:                                     false,
		pod + "/exec":                           true,
		pod + "/attach":                         true,
		pod + "/portforward":                    true,
		"/api/v1/nodes/n/proxy/x":               true,
	} {
		r := httptest.NewRequest("POST", path, nil)
		if isStream(r) {
			t.Errorf("%s is a stream without an upgrade", path)
		}
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "SPDY/3.1")
		if got := isStream(r); got != want {
			t.Errorf("%s with an upgrade: %t, want %t", path, got, want)
		}
	}
}
