// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/utils/lru"
)

// maxNodes bounds the number of nodes with cached transports. Each takes about 3 kB. The
// least recently used is evicted first. Idle connections close after 90 seconds in any
// case, so file descriptors do not accumulate.
const maxNodes = 1000

// kubeletTransports holds the transports to the kubelet of one node. Nodes share none: a
// connection to one node is never reused for another node that has the same address
// later.
type kubeletTransports struct {
	target
	cert                 []byte
	verified, unverified func() *http.Transport
	close                func()
}

// target identifies a node and the endpoint of its kubelet. A node that was
// deleted and created again has another UID.
type target struct {
	uid        types.UID
	host, port string
}

// clientCertificate is the server's client certificate, parsed once.
type clientCertificate struct {
	pem []byte
	tls tls.Certificate
}

// of returns the transports to the kubelet of node at host and port, with the current
// client certificate of the PKI. When the certificate or the target changes, older
// connections close as soon as no request uses them.
func (k *Kubelets) of(node types.NodeName, host, port string) (*kubeletTransports, error) {
	to := target{host: host, port: port}
	if known, err := k.nodes.Get(string(node)); err == nil {
		to.uid = known.UID
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if pair := k.pki.KubeletClient(); !bytes.Equal(k.cert.pem, pair.Cert) {
		cert, err := pair.TLS()
		if err != nil {
			return nil, fmt.Errorf("apiserver: client certificate for kubelets: %w", err)
		}
		k.cert = clientCertificate{pem: pair.Cert, tls: cert}
	}
	if got, ok := k.transports.Get(lru.Key(string(node))); ok {
		if transports, ok := got.(*kubeletTransports); ok {
			if transports.target == to && bytes.Equal(transports.cert, k.cert.pem) {
				return transports, nil
			}
			transports.close()
		}
	}
	transports := k.newTransports(node, to, k.cert)
	k.transports.Add(lru.Key(string(node)), transports)
	return transports, nil
}

func (k *Kubelets) newTransports(node types.NodeName, to target, cert clientCertificate) *kubeletTransports {
	var mu sync.Mutex
	var made []*http.Transport
	transport := func(verify func(tls.ConnectionState) error) func() *http.Transport {
		return sync.OnceValue(func() *http.Transport {
			t := k.transport(node, cert.tls, verify)
			mu.Lock()
			defer mu.Unlock()
			made = append(made, t)
			return t
		})
	}
	transports := &kubeletTransports{
		target:     to,
		cert:       cert.pem,
		verified:   transport(k.roots.verify(node, to.host)),
		unverified: transport(k.refuseOwn),
		close: func() {
			mu.Lock()
			defer mu.Unlock()
			for _, t := range made {
				t.CloseIdleConnections()
			}
		},
	}
	if k.insecure {
		transports.verified = transports.unverified
	}
	return transports
}

// transport returns a transport like upstream's, with HTTP/2 and pings that end the
// connection to a kubelet that is gone.
func (k *Kubelets) transport(node types.NodeName, cert tls.Certificate, verify func(tls.ConnectionState) error) *http.Transport {
	t := utilnet.SetTransportDefaults(&http.Transport{
		DialContext:         k.dial,
		MaxIdleConnsPerHost: 25,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// A server in place of the kubelets of several nodes at one address selects
			// the node by the name.
			ServerName: string(node),
			// crypto/tls would verify ServerName against the certificate's DNS names.
			// verify does the whole verification instead, also on connections that
			// upstream makes for exec, attach and port-forward.
			InsecureSkipVerify: true,
			VerifyConnection:   verify,
			// Not Certificates: a kubelet that does not name our CA would not get it.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		},
	})
	// A proxy would connect to addresses that were not checked here.
	t.Proxy = nil
	return t
}
