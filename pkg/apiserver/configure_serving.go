// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/kubembed/kubembed/internal/apiserver/serving"
)

// configureServing sets the listener and its certificate, from which upstream takes the
// port and the client CAs. The server serves by itself: see listeners.
func configureServing(e *environment, c *genericapiserver.Config) error {
	pair := e.config.PKI.Serving()
	cert, err := dynamiccertificates.NewStaticCertKeyContent("serving-cert", pair.Cert, pair.Key)
	if err != nil {
		return fmt.Errorf("apiserver: serving certificate: %w", err)
	}
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: e.config.Listener, Cert: cert}
	return nil
}

// listeners returns the servers of Config.Listener and Config.InsecureListener, not
// started.
func (s *Server) listeners() []*serving.Server {
	options := serving.Options{
		Context:  s.ctx,
		Listener: s.config.Listener,
		Handler:  http.HandlerFunc(s.serve),
		Requests: &s.requests,
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
