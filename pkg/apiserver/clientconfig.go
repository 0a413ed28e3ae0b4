package apiserver

import (
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/loopback"
)

// AdminUser is the user of ClientConfig. It is in group system:masters.
const AdminUser = "kubernetes-admin"

// loopbackConfig is the client configuration of the server itself: privileged,
// in-process, protobuf, as upstream's loopback client.
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
	c.WarningHandler = rest.NoWarnings{} // nobody reads the server's to itself
	c.UserAgent = serverUserAgent        // which names the server in managedFields
	return c
}

// ClientConfig is a client configuration for user AdminUser in group
// system:masters. It has a client certificate, its key, the CA and the URL, like
// the one that envtest returns, so that a kubeconfig can be made from it.
//
// While they are unchanged, requests are handed to the server in the same process,
// with neither socket nor TLS, for as long as the server runs. Those that upgrade
// the connection (exec, attach, port-forward) go over TLS to the Listener. So does
// every request of a copy with another Host, TLSClientConfig, Dial, Proxy, Transport,
// or with other credentials: client-go sends it over the network. The fields that change
// neither the server nor the user (Impersonate, Timeout, QPS, UserAgent, ContentType and
// so on) may be changed in place.
//
// Where a copy has both the certificate and credentials that are sent as a header (a
// bearer token, a password), the header counts. kube-apiserver would go by the
// certificate, and the copy would be an administrator's still.
//
// The certificate is valid for a year, or as long as the CA if that is shorter, and
// cannot be revoked. Each call returns a new copy, whose certificate has at least a
// third of its life left: a process that runs for longer than some months calls it
// again before exec, or for a new kubeconfig. There is no certificate if the CA has
// expired.
func (s *Server) ClientConfig() *rest.Config {
	pair, err := s.admin.current(s.config.PKI)
	if err != nil {
		s.config.Logger.Error("ClientConfig has no client certificate: its copies, kubeconfigs made from it, exec and port-forward are not authenticated", zap.Error(err))
	}
	c := s.clientConfig()
	c.Host += "/" // envtest's has it
	c.CertData, c.KeyData = slices.Clone(pair.Cert), slices.Clone(pair.Key)
	c.WrapTransport = s.loopback().Wrap(rest.TLSClientConfig{CAData: s.config.PKI.CABundle(), CertData: pair.Cert, KeyData: pair.Key},
		loopback.Credentials{Authorization: "Bearer " + s.tokens.Admin, Implied: true})
	return c
}

// ClientConfigAs is ClientConfig for another user, in groups, with a bearer token
// instead of a certificate. It is good for as long as the server, and each call has a
// secret of its own: it is for parts of the control plane, not for guests.
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
	c.WrapTransport = s.loopback().Wrap(rest.TLSClientConfig{CAData: s.config.PKI.CABundle()}, loopback.Credentials{Authorization: "Bearer " + token})
	return c
}

func (s *Server) clientConfig() *rest.Config {
	return &rest.Config{
		Host:            s.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: slices.Clone(s.config.PKI.CABundle())},
		QPS:             -1, // priority and fairness limits, as for any other client
	}
}

func (s *Server) loopback() *loopback.Loopback {
	return &loopback.Loopback{Host: strings.TrimPrefix(s.URL(), "https://"), InProcess: s.transport, Stopping: &s.stopping}
}
