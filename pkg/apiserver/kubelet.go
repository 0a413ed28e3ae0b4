package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/kubernetes/pkg/kubelet/client"

	"github.com/kubembed/kubembed/pkg/pki"
)

// kubelets is how the server reaches kubelets for logs, exec and the like.
// Upstream finds their addresses and ports. The transports are our own:
// upstream's take a client certificate by file name only, and follow the file
// with goroutines that nothing can stop.
type kubelets struct {
	pki      *pki.PKI
	insecure bool
	roots    *x509.CertPool
	dial     utilnet.DialFunc
	policy   *kubeletPolicy

	mu sync.Mutex
	// cert is the client certificate of the transports.
	cert                 []byte
	verified, unverified *http.Transport
}

func (g *generic) newKubelets() *kubelets {
	k := &kubelets{
		pki:      g.config.PKI,
		insecure: g.config.KubeletInsecureTLS,
		roots:    x509.NewCertPool(),
		policy:   newKubeletPolicy(g),
	}
	k.roots.AppendCertsFromPEM(g.config.PKI.CABundle())
	k.dial = g.dialer("kubelet", k.policy.allows)
	return k
}

// kubeletClientConfig has kube-apiserver's defaults, but addresses before
// names, as kubeadm has it: nothing resolves the names of workers for the host.
// What upstream makes of it must not connect: kubelets.connect replaces it.
func kubeletClientConfig() client.KubeletClientConfig {
	return client.KubeletClientConfig{
		Port:         10250,
		ReadOnlyPort: 10255,
		PreferredAddressTypes: []string{
			string(corev1.NodeInternalIP), string(corev1.NodeExternalIP), string(corev1.NodeHostName),
		},
		Lookup: func(egressselector.NetworkContext) (utilnet.DialFunc, error) {
			return func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("apiserver: a connection to a kubelet without our client certificate")
			}, nil
		},
	}
}

// kubeletConnections is upstream's way to find a kubelet with our way to reach it.
type kubeletConnections struct {
	client.ConnectionInfoGetter
	kubelets *kubelets
}

func (c kubeletConnections) GetConnectionInfo(ctx context.Context, node types.NodeName) (*client.ConnectionInfo, error) {
	info, err := c.ConnectionInfoGetter.GetConnectionInfo(ctx, node)
	if err != nil {
		return nil, err
	}
	if err := c.kubelets.policy.check(ctx, node, info.Hostname); err != nil {
		return nil, err
	}
	verified, unverified, err := c.kubelets.transports()
	if err != nil {
		return nil, err
	}
	info.Transport = &kubeletTransport{Transport: verified, node: node}
	info.InsecureSkipTLSVerifyTransport = &kubeletTransport{Transport: unverified, node: node}
	return info, nil
}

// transports returns the transport that verifies kubelets, and the one that
// does not. Both show the client certificate that the PKI has now; connections
// that were made with an older one last as long as the requests on them.
func (k *kubelets) transports() (verified, unverified *http.Transport, err error) {
	pair := k.pki.KubeletClient()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.verified != nil && bytes.Equal(k.cert, pair.Cert) {
		return k.verified, k.unverified, nil
	}
	cert, err := pair.TLS()
	if err != nil {
		return nil, nil, fmt.Errorf("apiserver: client certificate for kubelets: %w", err)
	}
	for _, old := range []*http.Transport{k.verified, k.unverified} {
		if old != nil {
			old.CloseIdleConnections()
		}
	}
	k.cert = pair.Cert
	k.verified, k.unverified = k.transport(cert, k.insecure), k.transport(cert, true)
	return k.verified, k.unverified, nil
}

// transport has what upstream's transports have: HTTP/2, with pings that end the
// connection to a kubelet that is gone.
func (k *kubelets) transport(cert tls.Certificate, insecure bool) *http.Transport {
	t := utilnet.SetTransportDefaults(&http.Transport{
		DialContext:         k.dial,
		MaxIdleConnsPerHost: 25,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            k.roots,
			InsecureSkipVerify: insecure,
			// Not Certificates: a kubelet that does not name our CA would see none.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		},
	})
	// A proxy would connect to what has not been checked here.
	t.Proxy = nil
	return t
}

// kubeletTransport says what can be done about a kubelet that is not believed.
type kubeletTransport struct {
	*http.Transport
	node types.NodeName
}

func (t *kubeletTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	var invalid *tls.CertificateVerificationError
	if errors.As(err, &invalid) {
		err = fmt.Errorf("the kubelet of node %s has no serving certificate of the cluster's CA for its address (it asks for one with serverTLSBootstrap; Config.KubeletInsecureTLS accepts any): %w", t.node, err)
	}
	return response, err
}

// WrappedRoundTripper lets upstream look through to the dialer and the TLS
// settings, with which it makes the connections of exec, attach and port-forward.
func (t *kubeletTransport) WrappedRoundTripper() http.RoundTripper { return t.Transport }
