// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/loopback"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
)

// AdminUser is the user of ClientConfig. It is in group system:masters.
const AdminUser = "kubernetes-admin"

// loopbackConfig returns the client configuration of the server itself: privileged,
// in-process, with protobuf, like upstream's loopback client.
func (s *Server) loopbackConfig() *rest.Config {
	c := s.tokenConfig(s.tokens.Loopback)
	if s.disabled != nil {
		wrap := c.WrapTransport
		c.WrapTransport = func(network http.RoundTripper) http.RoundTripper {
			return s.disabled.Wrap(s.ctx, wrap(network))
		}
	}
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.DisableCompression = true
	c.WarningHandler = rest.NoWarnings{} // the server's warnings to itself have no reader
	c.UserAgent = serverUserAgent        // it is the manager in managedFields
	return c
}

// ClientConfig returns a client configuration for user AdminUser in group system:masters.
// It has a client certificate, its key, the CA and the URL, like the one that envtest
// returns, so that a kubeconfig can be made from it.
//
// While these are unchanged and the server runs, requests reach the server in this
// process without a socket and TLS. Requests that upgrade the connection (exec, attach,
// port-forward) use TLS to the Listener. So do all requests of a copy with another Host,
// TLSClientConfig, Dial, Proxy or Transport, or with other credentials: client-go sends
// them over the network. Fields that change neither the server nor the user (Impersonate,
// Timeout, QPS, UserAgent, ContentType and so on) may be changed in place.
//
// If a copy has both the certificate and credentials in a header (a bearer token, a
// password), the server uses the header. Upstream's kube-apiserver would use the
// certificate, and the copy would still act as an administrator.
//
// The certificate is valid for a year, or until the CA expires if that is earlier, and
// cannot be revoked. Each call returns a new copy, whose certificate has at least a third
// of its lifetime left: a process that runs for months calls it again before exec, or for
// a new kubeconfig. There is no certificate if the CA has expired.
func (s *Server) ClientConfig() *rest.Config {
	pair, err := s.admin.Current(s.config.PKI, AdminUser)
	if err != nil {
		s.config.Logger.Error("ClientConfig has no client certificate: its copies, kubeconfigs made from it, exec and port-forward are not authenticated", zap.Error(err))
	}
	c := s.clientConfig()
	c.Host += "/" // envtest's has it
	c.CertData, c.KeyData = slices.Clone(pair.Cert), slices.Clone(pair.Key)
	c.WrapTransport = s.loopback().Wrap(rest.TLSClientConfig{ServerName: c.ServerName, CAData: s.config.caBundle(), CertData: pair.Cert, KeyData: pair.Key},
		loopback.Credentials{Authorization: "Bearer " + s.tokens.Admin, Implied: true})
	return c
}

// ClientConfigAs returns a ClientConfig for another user in groups, with a bearer token
// instead of a certificate. Each call creates a token, which is valid until the server
// stops. It is for parts of the control plane, not for untrusted clients.
func (s *Server) ClientConfigAs(user string, groups ...string) (*rest.Config, error) {
	token, err := authn.NewToken()
	if err != nil {
		return nil, err
	}
	s.users.Add(token, user, groups...)
	return s.tokenConfig(token), nil
}

func (s *Server) tokenConfig(token string) *rest.Config {
	c := s.clientConfig()
	c.BearerToken = token
	c.WrapTransport = s.loopback().Wrap(rest.TLSClientConfig{ServerName: c.ServerName, CAData: s.config.caBundle()}, loopback.Credentials{Authorization: "Bearer " + token})
	return c
}

func (s *Server) clientConfig() *rest.Config {
	return &rest.Config{
		Host:            s.URL(),
		TLSClientConfig: rest.TLSClientConfig{ServerName: s.ServerName(), CAData: s.config.caBundle()},
		QPS:             -1, // priority and fairness limits it, like other clients
	}
}

// CABundle returns the PEM certificates that clients verify the server with: PKI's CAs
// and Config.Serving.RootCAs.
func (s *Server) CABundle() []byte { return s.config.caBundle() }

// ServerName returns the name that clients with PKI's CA ask for in the handshake
// (tls-server-name of a kubeconfig). It is empty if they always get PKI's certificate,
// and otherwise a name of the kubernetes Service, for which they get it at any address.
func (s *Server) ServerName() string {
	if s.config.Serving.ownCertificates() {
		return serving.ServiceName
	}
	return ""
}

func (s *Server) loopback() *loopback.Loopback {
	return &loopback.Loopback{Host: strings.TrimPrefix(s.URL(), "https://"), InProcess: s.transport, Stopping: &s.stopping, Share: s.pods.Transform}
}
