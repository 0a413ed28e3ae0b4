// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"go.uber.org/zap"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/hostcall"
)

// configureServing sets the listener and its certificate, from which upstream takes the
// port and the client CAs. The server serves by itself: see listeners.
func configureServing(e *environment, c *genericapiserver.Config) error {
	pair := e.config.PKI.Serving()
	cert, err := dynamiccertificates.NewStaticCertKeyContent("serving-cert", pair.Cert, pair.Key)
	if err != nil {
		return fmt.Errorf("apiserver: serving certificate: %w", err)
	}
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: e.config.Listener, Cert: cert, DisableHTTP2: e.config.Serving.DisableHTTP2}
	e.config.Serving.applyTo(c)
	return nil
}

// openCertificates reads the certificates of the host's.
func (s *Server) openCertificates() (err error) {
	s.certificates, err = s.config.certificates()
	if about := (*serving.FileError)(nil); errors.As(err, &about) {
		return fieldpath.New("apiserver", about.Field, "%w", about.Err)
	}
	if err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	if at := s.config.AdvertiseAddress; len(s.config.Serving.RootCAs) == 0 && s.certificates.HostsAt(at) {
		s.config.Logger.Warn("kubelets that join, and pods, will not trust the server: they know PKI's CA only, and get the host's certificate at the advertised address; set the CAs of that certificate",
			zap.String("field", "Config.Serving.RootCAs"), zap.Stringer("address", at))
	}
	s.resources.Push("apiserver: certificates", func(context.Context) error { s.certificates.Close(); return nil })
	return nil
}

// containListeners makes panics of the host's listeners errors, and bounds their Close.
func (c Config) containListeners() Config {
	c.Listener = hostcall.Net{Field: "Config.Listener", Logger: c.Logger}.Listener(c.Listener)
	if c.InsecureListener != nil {
		c.InsecureListener = hostcall.Net{Field: "Config.InsecureListener", Logger: c.Logger}.Listener(c.InsecureListener)
	}
	return c
}

// listeners returns the servers of Config.Listener and Config.InsecureListener, not
// started.
func (s *Server) listeners() []*serving.Server {
	options := serving.Options{
		Context:  s.ctx,
		Listener: s.config.Listener,
		Handler:  http.HandlerFunc(s.serve),
		Requests: &s.requests,

		Certificates: s.certificates,
		MaxStreams:   s.config.Serving.HTTP2MaxStreamsPerConnection,
		DisableHTTP2: s.config.Serving.DisableHTTP2,
		Certificate: func() (*tls.Certificate, error) {
			cert, err := s.config.PKI.Serving().TLS()
			return &cert, err
		},
		Logger: s.config.Logger,
	}
	// The connections of revoked nodes and certificates are closed.
	connContext := func(ctx context.Context, c net.Conn) context.Context {
		return s.revocations.ConnContext(ctx, c)
	}
	connState := func(c net.Conn, state http.ConnState) { s.revocations.ConnState(c, state) }
	servers := []*serving.Server{serving.NewHTTPS(options, connContext, connState)}
	if s.config.InsecureListener != nil {
		options.Listener = s.config.InsecureListener
		servers = append(servers, serving.NewInsecure(options, s.tokens.Insecure))
	}
	return servers
}

// Handler returns the control plane as a handler, for a server of the host's, with its
// own port, certificate and further paths. Requests are authenticated as on Listener,
// which serves too: by token, or by a client certificate if that server asks for one
// (tls.Config.ClientAuth, tls.RequestClientCert). That server must have HTTPS for
// kubectl, which sends no credentials over HTTP and then gets HTTP 401. Requests wait
// until Start has prepared the server. Stop waits for them as for all others and then
// cuts them, and later ones get HTTP 503.
//
// It may be mounted below a path, with http.StripPrefix, and redirects then keep that
// path. Pages that pods and Services serve through the proxies do not: upstream completes
// their links from the root by the path of the proxy, without that of the mount. For
// browsers mount it at a host name of its own, as in
// http.ServeMux.Handle("k8s.example.com/", handler).
//
// The host's server must leave watches, logs, exec and port-forward alone: no
// http.TimeoutHandler, no http.Server.WriteTimeout and ReadTimeout, and no middleware
// that keeps or compresses responses. A middleware that wraps the http.ResponseWriter
// must have Flush and Hijack, or Unwrap: otherwise watches and exec fail. It must leave
// Request.TLS, Authorization and the body as they are. An http.ServeMux redirects paths
// with "//" and "..", as clients of the proxies of pods and services may send them.
//
// Of the values in a request's context the control plane gets net/http's only, and the
// trace if Config.TracerProvider is set. The handler can be in Serving.Handlers of
// another control plane, with http.StripPrefix. That one authenticates and authorizes
// first, and removes Authorization, so that this one knows client certificates only, and
// ends watches after its RequestTimeout.
//
// The budget of connections and the closing of a revoked client's connections apply to
// Listener only. Here each request of a revoked client is refused. Browsers send the
// cookies and client certificates of the host's server with requests of its other pages.
func (s *Server) Handler() http.Handler {
	return s.mounted.Handler(serving.MountOptions{
		Context:  s.ctx,
		Handler:  http.HandlerFunc(s.serve),
		Requests: &s.requests,
		Adopt:    s.config.adopt,

		Propagate: s.config.propagateTrace(),
		Logger:    s.config.Logger,
	})
}

// URL returns the URL at which this machine reaches the HTTPS listener.
func (s *Server) URL() string { return "https://" + serving.LocalAddress(s.config.Listener.Addr()) }

// InsecureURL returns the URL at which this machine reaches the plain HTTP listener, or
// an empty string without one.
func (s *Server) InsecureURL() string {
	if s.config.InsecureListener == nil {
		return ""
	}
	return "http://" + serving.LocalAddress(s.config.InsecureListener.Addr())
}

// closeListeners closes the listeners that no server has yet.
func (s *Server) closeListeners() error {
	err := s.config.Listener.Close()
	if s.config.InsecureListener != nil {
		err = errors.Join(err, s.config.InsecureListener.Close())
	}
	return err
}
