// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package loopback passes the requests of clients in this process to the API server
// without a socket.
package loopback

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/transport"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/kubembed/kubembed/internal/inprocess"
)

// Credentials are the credentials of a client configuration of this server.
type Credentials struct {
	Authorization string // the header
	// Implied credentials are not in the configuration: requests have no such header, and
	// the transport adds it.
	Implied bool
}

// Loopback is the server that gets the requests.
type Loopback struct {
	Host      string // of the server's URL
	InProcess http.RoundTripper
	// Stopping is set when the server refuses further requests.
	Stopping *atomic.Bool
	// Share is the result of the function Share. If nil, nothing is shared.
	Share cache.TransformFunc
}

// Wrap returns a rest.Config.WrapTransport that passes requests to the handler in this
// process if they would reach it over the network as the same user. own is the
// TLSClientConfig of the configuration. A copy with another TLSClientConfig, or with a
// Dial, has another transport, which Wrap does not change. The same applies to the
// transports of exec and port-forward, which upgrade the connection.
func (l *Loopback) Wrap(own rest.TLSClientConfig, as Credentials) transport.WrapperFunc {
	return func(network http.RoundTripper) http.RoundTripper {
		if !isTransportFor(network, own) {
			return network
		}
		return &roundTripper{Loopback: l, network: network, as: as}
	}
}

// isTransportFor reports whether network is client-go's transport for a configuration
// with own as TLSClientConfig, and without Dial, Proxy or Transport. client-go has one
// transport for all configurations with the same values of these.
func isTransportFor(network http.RoundTripper, own rest.TLSClientConfig) bool {
	innermost := network
	for {
		wrapper, ok := innermost.(utilnet.RoundTripperWrapper)
		if !ok {
			break
		}
		innermost = wrapper.WrappedRoundTripper()
	}
	plain, ok := innermost.(*http.Transport)
	if !ok {
		return false
	}
	// Compression changes neither the server nor the user.
	config, err := (&rest.Config{TLSClientConfig: own, DisableCompression: plain.DisableCompression}).TransportConfig()
	if err != nil {
		return false
	}
	var made http.RoundTripper
	config.WrapTransport = func(rt http.RoundTripper) http.RoundTripper { // Before client-go wraps it for the log.
		made = rt
		return rt
	}
	_, err = transport.New(config)
	return err == nil && made == network
}

type roundTripper struct {
	*Loopback
	network http.RoundTripper
	as      Credentials
}

func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.unchanged(r) {
		return t.network.RoundTrip(r)
	}
	// The filters would answer with Retry-After, and upstream's own controllers would
	// retry forever.
	if t.Stopping.Load() {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, inprocess.ErrStopped
	}
	if httpstream.IsUpgradeRequest(r) {
		return t.network.RoundTrip(r)
	}
	if t.as.Implied {
		r = utilnet.CloneRequest(r)
		r.Header.Set("Authorization", t.as.Authorization)
	}
	if path, twice := strings.CutPrefix(r.URL.Path, "//"); twice && r.URL.RawPath == "" {
		// A caller has written Host + "/path", and Host ends with a slash.
		u := *r.URL
		u.Path = "/" + path
		r = withURL(r, &u)
	}
	return t.InProcess.RoundTrip(r)
}

func withURL(r *http.Request, u *url.URL) *http.Request {
	shallow := *r
	shallow.URL = u
	return &shallow
}

// unchanged reports whether a request is for this server, with the credentials of the
// configuration.
func (t *roundTripper) unchanged(r *http.Request) bool {
	if r.URL == nil || r.URL.Scheme != "https" || r.URL.Host != t.Host {
		return false
	}
	values := 0
	for name, value := range r.Header {
		if strings.EqualFold(name, "Authorization") { // Some clients use other cases.
			if values += len(value); len(value) > 0 && value[0] != t.as.Authorization {
				return false
			}
		}
	}
	if t.as.Implied {
		return values == 0
	}
	return values == 1
}

// WrappedRoundTripper gives client-go the network's transport, for its TLS settings and
// to cancel requests.
func (t *roundTripper) WrappedRoundTripper() http.RoundTripper { return t.network }
