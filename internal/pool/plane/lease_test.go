// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"net/http"
	"runtime"
	"testing"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// TestLeasesShareNoConnections: clients of two leases of one control plane have
// connections of their own. The end of the first lease closed connections that requests
// of the second one used: "write: broken pipe".
func TestLeasesShareNoConnections(t *testing.T) {
	p := startFor(t, protocol.Options{}, 0)
	first := transport(t, p.Begin("one"))
	p.End()
	second := transport(t, p.Begin("two"))
	if connections(first) == connections(second) {
		t.Error("clients of two leases share connections")
	}
	runtime.KeepAlive(first) // client-go forgets transports without a client
	response, err := (&http.Client{Transport: second}).Get(p.URL() + "/version")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

// transport returns the transport of a client with a token.
func transport(t *testing.T, lease protocol.Lease) http.RoundTripper {
	t.Helper()
	transport, err := rest.TransportFor(&rest.Config{Host: lease.URL, TLSClientConfig: rest.TLSClientConfig{CAData: lease.CABundle}, BearerToken: lease.Token})
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

// connections returns the innermost transport, which has the connections.
func connections(of http.RoundTripper) http.RoundTripper {
	wrapper, ok := of.(utilnet.RoundTripperWrapper)
	if !ok {
		return of
	}
	return connections(wrapper.WrappedRoundTripper())
}
