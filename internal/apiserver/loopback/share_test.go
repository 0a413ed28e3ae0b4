// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"testing"

	"k8s.io/client-go/rest"
)

// TestShare: only a configuration whose requests stay in the process shares memory, and
// it does so with the wrappers of client-go.
func TestShare(t *testing.T) {
	l := &Loopback{Host: host, Share: func(any) (any, error) { return "shared", nil }}
	config := &rest.Config{Host: "https://" + host, BearerToken: "own"}
	config.WrapTransport = l.Wrap(config.TLSClientConfig, Credentials{Authorization: "Bearer own"})
	share := Share(rest.AddUserAgent(config, "test"))
	if share == nil {
		t.Fatal("a configuration of the server does not share")
	}
	if got, err := share(nil); got != "shared" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	config.ServerName = "other"
	if Share(config) != nil {
		t.Error("a configuration of another server shares")
	}
}
