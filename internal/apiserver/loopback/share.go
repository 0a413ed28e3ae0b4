// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Share returns the function with which informers of a component share memory with the
// server of its configuration (Loopback.Share). The objects of such informers must not be
// changed. It returns nil if requests leave the process.
func Share(config *rest.Config) cache.TransformFunc {
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil // A client reports it.
	}
	for {
		if own, ok := transport.(*roundTripper); ok {
			return own.Share
		}
		wrapper, ok := transport.(utilnet.RoundTripperWrapper)
		if !ok {
			return nil
		}
		transport = wrapper.WrappedRoundTripper()
	}
}
