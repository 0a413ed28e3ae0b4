// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
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

// Policy decides at which addresses and ports nodes may have their kubelets.
type Policy interface {
	// Allows returns an error for an endpoint that the server must not connect to. It is
	// called for each connection, after names have been resolved.
	Allows(at netip.AddrPort) error
	// Check returns an error for a node's kubelet that the server must not connect to. It
	// is called for each request, and reports the refusal.
	Check(ctx context.Context, node types.NodeName, host, port string) error
}

// Kubelets makes the server's requests to kubelets, for logs, exec and the like. Upstream
// finds their addresses and ports. The transports are our own: upstream's take a client
// certificate by file name only, and follow the file with goroutines that nothing can
// stop.
type Kubelets struct {
	pki      *pki.PKI
	insecure bool
	roots    kubeletRoots
	dial     utilnet.DialFunc
	policy   Policy
	nodes    corelisters.NodeLister

	mu         sync.Mutex
	cert       clientCertificate
	transports *lru.Cache // *kubeletTransports by the name of the node
}

// NewKubelets returns the Kubelets of a server with these identities. insecure accepts
// any serving certificate of a kubelet except the API server's own.
func NewKubelets(identities *pki.PKI, insecure bool, nodes corelisters.NodeLister, dialer *Dialer, policy Policy) *Kubelets {
	return &Kubelets{
		pki:      identities,
		insecure: insecure,
		roots:    newKubeletRoots(identities),
		dial:     dialer.Dial("kubelet", policy.Allows),
		policy:   policy,
		nodes:    nodes,
		transports: lru.NewWithEvictionFunc(maxNodes, func(_ lru.Key, transports any) {
			if transports, ok := transports.(*kubeletTransports); ok {
				transports.close()
			}
		}),
	}
}

// ClientConfig returns kube-apiserver's defaults, but with addresses before names, as in
// kubeadm: the host cannot resolve the names of workers. Upstream must not connect with
// it: Kubelets.Connect replaces its transports.
func ClientConfig() client.KubeletClientConfig {
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

// connections returns our transports to the kubelet that upstream finds.
type connections struct {
	client.ConnectionInfoGetter
	kubelets *Kubelets
}

func (c connections) GetConnectionInfo(ctx context.Context, node types.NodeName) (*client.ConnectionInfo, error) {
	info, err := c.ConnectionInfoGetter.GetConnectionInfo(ctx, node)
	if err != nil {
		return nil, err
	}
	if err := c.kubelets.policy.Check(ctx, node, info.Hostname, info.Port); err != nil {
		return nil, err
	}
	transports, err := c.kubelets.of(node, info.Hostname, info.Port)
	if err != nil {
		return nil, err
	}
	info.Transport = &explainingTransport{Transport: transports.verified(), node: node}
	info.InsecureSkipTLSVerifyTransport = &explainingTransport{Transport: transports.unverified(), node: node}
	return info, nil
}

// explainingTransport adds a solution to the error of a failed verification.
type explainingTransport struct {
	*http.Transport
	node types.NodeName
}

func (t *explainingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		err = fmt.Errorf("the kubelet of node %s has no serving certificate of the cluster's CA for its name and address (it asks for one with serverTLSBootstrap; Config.KubeletInsecureTLS accepts any): %w", t.node, err)
	}
	return response, err
}

// WrappedRoundTripper gives upstream the dialer and the TLS settings, with which it makes
// the connections of exec, attach and port-forward.
func (t *explainingTransport) WrappedRoundTripper() http.RoundTripper { return t.Transport }
