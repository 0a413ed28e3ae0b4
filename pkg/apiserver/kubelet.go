package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/client"
	"k8s.io/utils/lru"

	"github.com/kubembed/kubembed/pkg/pki"
)

// kubelets is how the server reaches kubelets for logs, exec and the like.
// Upstream finds their addresses and ports. The transports are our own:
// upstream's take a client certificate by file name only, and follow the file
// with goroutines that nothing can stop.
type kubelets struct {
	pki      *pki.PKI
	insecure bool
	roots    kubeletRoots
	dial     utilnet.DialFunc
	policy   *kubeletPolicy
	nodes    corelisters.NodeLister

	mu    sync.Mutex
	cert  kubeletClientCertificate
	calls *lru.Cache // *kubeletCalls by the name of the node
}

func (g *generic) newKubelets() *kubelets {
	k := &kubelets{
		pki:      g.config.PKI,
		insecure: g.config.KubeletInsecureTLS,
		roots:    newKubeletRoots(g.config.PKI),
		policy:   newKubeletPolicy(g),
		nodes:    g.informers.Core().V1().Nodes().Lister(),
		calls: lru.NewWithEvictionFunc(maxKubeletTransports, func(_ lru.Key, calls any) {
			if calls, ok := calls.(*kubeletCalls); ok {
				calls.close()
			}
		}),
	}
	k.dial = g.endpointDialer("kubelet", k.policy.allows)
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
	if err := c.kubelets.policy.check(ctx, node, info.Hostname, info.Port); err != nil {
		return nil, err
	}
	calls, err := c.kubelets.of(node, info.Hostname, info.Port)
	if err != nil {
		return nil, err
	}
	info.Transport = &kubeletTransport{Transport: calls.verified(), node: node}
	info.InsecureSkipTLSVerifyTransport = &kubeletTransport{Transport: calls.unverified(), node: node}
	return info, nil
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
		err = fmt.Errorf("the kubelet of node %s has no serving certificate of the cluster's CA for its name and address (it asks for one with serverTLSBootstrap; Config.KubeletInsecureTLS accepts any): %w", t.node, err)
	}
	return response, err
}

// WrappedRoundTripper lets upstream look through to the dialer and the TLS
// settings, with which it makes the connections of exec, attach and port-forward.
func (t *kubeletTransport) WrappedRoundTripper() http.RoundTripper { return t.Transport }
