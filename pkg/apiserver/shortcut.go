package apiserver

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/kubembed/kubembed/internal/inprocess"
)

// credentials are those of a client configuration that this server has made.
type credentials struct {
	authorization string // the header
	// implied credentials are not in the configuration: requests have no such
	// header, and get it here.
	implied bool
}

// shortcut returns a rest.Config.WrapTransport that sends requests to the handler in
// this process, if over the network they would reach it as the same user. own is the
// TLSClientConfig of the configuration. A copy with another one, or with a Dial, has
// another transport, which stays as it is. So do the transports of exec and
// port-forward, which upgrade the connection.
func (s *Server) shortcut(own rest.TLSClientConfig, as credentials) transport.WrapperFunc {
	host := strings.TrimPrefix(s.URL(), "https://")
	return func(network http.RoundTripper) http.RoundTripper {
		if !isTransportFor(network, own) {
			return network
		}
		return &shortcut{inProcess: s.transport, network: network, host: host, as: as, stopping: &s.stopping}
	}
}

// isTransportFor reports whether client-go has made network for a configuration with
// own as TLSClientConfig, and no Dial, Proxy or Transport. client-go has one transport
// for all configurations that are equal in these.
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

type shortcut struct {
	inProcess, network http.RoundTripper
	host               string
	as                 credentials
	stopping           *atomic.Bool
}

func (t *shortcut) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.unchanged(r) {
		return t.network.RoundTrip(r)
	}
	// The filters would say "try again in a second", and upstream's own
	// controllers would, with nothing to stop them.
	if t.stopping.Load() {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, inprocess.ErrStopped
	}
	if httpstream.IsUpgradeRequest(r) {
		return t.network.RoundTrip(r)
	}
	if t.as.implied {
		r = utilnet.CloneRequest(r)
		r.Header.Set("Authorization", t.as.authorization)
	}
	if path, twice := strings.CutPrefix(r.URL.Path, "//"); twice && r.URL.RawPath == "" {
		// Host + "/path", by somebody who does not know that Host ends with a slash.
		u := *r.URL
		u.Path = "/" + path
		r = withURL(r, &u)
	}
	return t.inProcess.RoundTrip(r)
}

func withURL(r *http.Request, u *url.URL) *http.Request {
	shallow := *r
	shallow.URL = u
	return &shallow
}

// unchanged reports whether a request is for this server, with the credentials of the
// configuration.
func (t *shortcut) unchanged(r *http.Request) bool {
	if r.URL == nil || r.URL.Scheme != "https" || r.URL.Host != t.host {
		return false
	}
	values := 0
	for name, value := range r.Header {
		if strings.EqualFold(name, "Authorization") { // Not every client writes it so.
			if values += len(value); len(value) > 0 && value[0] != t.as.authorization {
				return false
			}
		}
	}
	if t.as.implied {
		return values == 0
	}
	return values == 1
}

// WrappedRoundTripper lets client-go look through to the network, which it
// does to find TLS settings and to cancel requests.
func (t *shortcut) WrappedRoundTripper() http.RoundTripper { return t.network }
