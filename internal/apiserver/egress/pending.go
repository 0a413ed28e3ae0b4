// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
)

// pending is a dial of the host's that a request waits for.
type pending struct{ field, address string }

type pendingKey struct{}

// waits records that the request of ctx waits for a dialer, until the function that it
// returns is called. A dial has the values of the context of its request, but neither its
// deadline nor its end.
func waits(ctx context.Context, field, address string) func() {
	request, ok := ctx.Value(pendingKey{}).(*atomic.Pointer[pending])
	if !ok {
		return func() {}
	}
	request.Store(&pending{field, address})
	return func() { request.Store(nil) }
}

// NameDialer is an AuthenticationInfoResolverWrapper, for use around upstream's. It names
// the dialer of the host's in the error of a call of a webhook that has timed out before
// there was a connection.
func NameDialer(next webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
	named := func(c *rest.Config, err error) (*rest.Config, error) {
		if err != nil || c.Dial == nil {
			return c, err
		}
		c = rest.CopyConfig(c)
		c.Wrap(func(next http.RoundTripper) http.RoundTripper { return namingTransport{next} })
		return c, nil
	}
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(hostPort string) (*rest.Config, error) { return named(next.ClientConfigFor(hostPort)) },
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
			return named(next.ClientConfigForService(name, namespace, port))
		},
	}
}

type namingTransport struct{ http.RoundTripper }

func (t namingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var request atomic.Pointer[pending]
	response, err := t.RoundTripper.RoundTrip(r.WithContext(context.WithValue(r.Context(), pendingKey{}, &request)))
	if err != nil && r.Context().Err() != nil {
		if at := request.Load(); at != nil {
			err = fmt.Errorf("%s: no connection to %s: %w", at.field, at.address, err)
		}
	}
	return response, err
}

// WrappedRoundTripper implements net.RoundTripperWrapper of k8s.io/apimachinery.
func (t namingTransport) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }
