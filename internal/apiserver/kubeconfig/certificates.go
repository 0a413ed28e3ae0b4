// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// client-go reads client certificates in files again in goroutines that end when the
// garbage collector has found their transport, after the stop of the server. Nothing ends
// them sooner. So it does not get the names of the files: WithoutFiles and Resolver put
// transports in place of its own, which read the files when they are used.

// files are the files of a client certificate, and of the CAs of its server.
type files struct {
	cert, key string
	ca        string // may be empty
}

// filesOf returns the files of a user's client certificate. There are none if a part is
// in the kubeconfig itself: client-go does not read the other one again.
func filesOf(user *clientcmdapi.AuthInfo) (f files, ok bool) {
	if user.ClientCertificate == "" || user.ClientKey == "" || len(user.ClientCertificateData) > 0 || len(user.ClientKeyData) > 0 {
		return files{}, false
	}
	return files{cert: user.ClientCertificate, key: user.ClientKey}, true
}

// WithoutFiles returns the kubeconfig that upstream loads in place of path. It is path
// itself, unless the client certificate of its context is in files. Then it is a copy in
// dir, which must be private.
func WithoutFiles(path, dir string) (string, error) {
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return "", fmt.Errorf("%s is no kubeconfig: %w", path, err)
	}
	if err := clientcmd.ResolveLocalPaths(config); err != nil {
		return "", err
	}
	at := config.Contexts[config.CurrentContext]
	if at == nil || config.AuthInfos[at.AuthInfo] == nil || config.Clusters[at.Cluster] == nil {
		return path, nil
	}
	user, cluster := config.AuthInfos[at.AuthInfo], config.Clusters[at.Cluster]
	f, ok := filesOf(user)
	if !ok || user.Exec != nil || user.AuthProvider != nil { // which would get the certificate's place
		return path, nil
	}
	if len(cluster.CertificateAuthorityData) == 0 {
		f.ca = cluster.CertificateAuthority
	}
	user.ClientCertificate, user.ClientKey = "", ""
	user.AuthProvider = &clientcmdapi.AuthProviderConfig{Name: providerName, Config: map[string]string{"cert": f.cert, "key": f.key, "ca": f.ca}}
	copied := filepath.Join(dir, fmt.Sprintf("kubeconfig-%x", sha256.Sum256([]byte(path))))
	return copied, clientcmd.WriteToFile(*config, copied)
}

// providerName is the auth provider in kubeconfigs of WithoutFiles.
const providerName = "kubembed.io/client-certificate-files"

func init() {
	utilruntime.Must(rest.RegisterAuthProviderPlugin(providerName, func(_ string, config map[string]string, _ rest.AuthProviderConfigPersister) (rest.AuthProvider, error) {
		return files{cert: config["cert"], key: config["key"], ca: config["ca"]}, nil
	}))
}

// Login implements rest.AuthProvider.
func (files) Login() error { return errors.New("a client certificate needs no login") }

// WrapTransport implements rest.AuthProvider. It leaves out upstream's wrapper, which
// counts servers whose certificates Go refuses.
func (f files) WrapTransport(next http.RoundTripper) http.RoundTripper {
	for {
		switch rt := next.(type) {
		case *http.Transport:
			return &transport{files: f, base: rt.Clone()}
		case utilnet.RoundTripperWrapper:
			next = rt.WrappedRoundTripper()
		default:
			return &transport{files: f}
		}
	}
}

// Resolver is an AuthenticationInfoResolverWrapper, for use directly around the resolver
// of a kubeconfig.
func Resolver(next webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
	without := func(c *rest.Config, err error) (*rest.Config, error) {
		if err != nil || c.ExecProvider != nil {
			return c, err
		}
		f, ok := filesOf(&clientcmdapi.AuthInfo{ClientCertificate: c.CertFile, ClientCertificateData: c.CertData, ClientKey: c.KeyFile, ClientKeyData: c.KeyData})
		if ok {
			c = rest.CopyConfig(c)
			c.CertFile, c.KeyFile = "", ""
			c.Wrap(f.WrapTransport)
		}
		return c, nil
	}
	return &webhook.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(hostPort string) (*rest.Config, error) { return without(next.ClientConfigFor(hostPort)) },
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
			return without(next.ClientConfigForService(name, namespace, port))
		},
	}
}

// transport is client-go's transport base with the content of files. When that changes,
// new requests take new connections. Those in progress end on their old ones.
type transport struct {
	files
	base *http.Transport // a copy that makes no connections

	mu      sync.Mutex
	read    time.Time // when the files were read
	content content
	current *http.Transport // with content
	failure string          // of the last read
}

// readInterval is the time between two reads of the files, as in client-go for new
// connections.
const readInterval = time.Second

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.base == nil {
		return nil, errors.New("client-go has a transport of another type: its server needs a client certificate in the kubeconfig itself (client-certificate-data)")
	}
	current, err := t.get()
	if err != nil {
		return nil, err
	}
	return current.RoundTrip(r)
}

// get returns a transport with the present content of the files, or the former transport
// if they cannot be used.
func (t *transport) get() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil && time.Since(t.read) < readInterval {
		return t.current, nil
	}
	t.read = time.Now()
	next, err := t.load()
	if err != nil {
		if t.current == nil {
			return nil, err
		}
		if err.Error() != t.failure {
			utilruntime.HandleError(fmt.Errorf("the client certificate of a webhook was not reloaded: the earlier one stays in use: %w", err))
		}
		t.failure = err.Error()
		return t.current, nil
	}
	t.failure = ""
	if t.current != next {
		if t.current != nil {
			t.current.CloseIdleConnections()
		}
		t.current = next
	}
	return t.current, nil
}

// content has the bytes of the files.
type content struct{ cert, key, ca []byte }

func (f files) content() (c content, err error) {
	if c.cert, err = os.ReadFile(f.cert); err != nil {
		return c, err
	}
	if c.key, err = os.ReadFile(f.key); err != nil {
		return c, err
	}
	if f.ca != "" {
		c.ca, err = os.ReadFile(f.ca)
	}
	return c, err
}

// load returns a transport with the present content of the files: the current one if
// nothing has changed.
func (t *transport) load() (*http.Transport, error) {
	c, err := t.files.content()
	if err != nil {
		return nil, err
	}
	if t.current != nil && bytes.Equal(c.cert, t.content.cert) && bytes.Equal(c.key, t.content.key) && bytes.Equal(c.ca, t.content.ca) {
		return t.current, nil
	}
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", t.cert, t.key, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.base.TLSClientConfig != nil {
		config = t.base.TLSClientConfig.Clone()
	}
	if t.ca != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(c.ca) {
			return nil, fmt.Errorf("%s: no certificate in PEM", t.ca)
		}
	}
	// Not Certificates: a webhook that does not name the CA would not get it.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	t.content = c
	// Not Clone: the copy would share the connections of HTTP/2.
	return utilnet.SetTransportDefaults(&http.Transport{
		Proxy: t.base.Proxy, DialContext: t.base.DialContext, TLSHandshakeTimeout: t.base.TLSHandshakeTimeout, TLSClientConfig: config,
		MaxIdleConnsPerHost: t.base.MaxIdleConnsPerHost, DisableCompression: t.base.DisableCompression,
	}), nil
}
