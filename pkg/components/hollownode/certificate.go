// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/certificate/csr"
)

const (
	// certificateWait bounds the wait of a connection for the certificate of its node,
	// which takes milliseconds. Clients abort a handshake after ten seconds.
	certificateWait = 5 * time.Second
	// certificateRetry is the pause after a failed request.
	certificateRetry = time.Minute
	// maxRequestName is the longest name of a CertificateSigningRequest.
	maxRequestName = 253
)

// certificates has a serving certificate for each node: the API server connects to a
// kubelet only if its certificate names the node. The server name of the handshake is the
// node. Each certificate is requested at the first connection to its node, because most
// nodes have none. Without a signer the certificates are self-signed.
type certificates struct {
	srv *server
	key *ecdsa.PrivateKey

	mu     sync.Mutex
	byNode map[string]*certificate
	// retryAt is when the next request may be made, after one has failed.
	retryAt time.Time
	// apiMissing means that certificates.k8s.io/v1 is not served.
	apiMissing bool
}

// certificate is the certificate of a node. lock is a channel of one element, for select:
// its holder may request the certificate.
type certificate struct {
	lock    chan struct{}
	current *tls.Certificate
	renewAt time.Time
}

func newCertificates(srv *server) (*certificates, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &certificates{srv: srv, key: key, byNode: map[string]*certificate{}}, nil
}

// get implements tls.Config.GetCertificate.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	node := hello.ServerName
	if c.srv.nodes[node] == nil {
		node = c.srv.names[0]
	}
	ctx, cancel := context.WithTimeout(hello.Context(), certificateWait)
	defer cancel()
	entry := c.entry(node)
	select {
	case entry.lock <- struct{}{}:
		defer func() { <-entry.lock }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if entry.current != nil && time.Now().Before(entry.renewAt) {
		return entry.current, nil
	}
	signed, err := c.signed(ctx, node)
	if err != nil {
		return nil, err
	}
	if signed == nil {
		return c.selfSigned(node)
	}
	entry.current = signed
	entry.renewAt = signed.Leaf.NotAfter.Add(-signed.Leaf.NotAfter.Sub(signed.Leaf.NotBefore) / 3)
	return signed, nil
}

func (c *certificates) entry(node string) *certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byNode[node] == nil {
		c.byNode[node] = &certificate{lock: make(chan struct{}, 1)}
	}
	return c.byNode[node]
}

// signed returns a signed certificate for node, or nil if no signer answers.
func (c *certificates) signed(ctx context.Context, node string) (*tls.Certificate, error) {
	c.mu.Lock()
	unavailable := c.apiMissing || time.Now().Before(c.retryAt)
	c.mu.Unlock()
	if unavailable {
		return nil, nil
	}
	signed, err := c.obtain(ctx, node)
	switch {
	case err == nil:
		return signed, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err() // the connection is closed, or the nodes stop
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if apierrors.IsNotFound(err) {
		if !c.apiMissing {
			c.srv.logger.Info("certificates.k8s.io/v1 is not served: for logs the control plane must accept any serving certificate", zap.String("field", "Config.KubeletInsecureTLS"))
		}
		c.apiMissing = true
		return nil, nil
	}
	c.retryAt = time.Now().Add(certificateRetry)
	c.srv.logger.Warn("request for a serving certificate failed, will retry", zap.String("node", node), zap.Duration("in", certificateRetry), zap.Error(err))
	return nil, nil
}

func (c *certificates) subject(node string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}
}

func (c *certificates) ips() []net.IP { return []net.IP{c.srv.address.Addr().AsSlice()} }

// selfSigned returns a certificate for control planes that do not verify kubelets.
func (c *certificates) selfSigned(node string) (*tls.Certificate, error) {
	own := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      c.subject(node),
		IPAddresses:  c.ips(),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, own, own, c.key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.key}, nil
}

// obtain requests a serving certificate as the kubelet of node does, and approves the
// request as an operator does.
func (c *certificates) obtain(ctx context.Context, node string) (*tls.Certificate, error) {
	srv := c.srv
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: c.subject(node), IPAddresses: c.ips()}, c.key)
	if err != nil {
		return nil, err
	}
	requests := srv.client.CertificatesV1().CertificateSigningRequests()
	name := "hollownode-" + node
	if len(name) > maxRequestName {
		name = "" // the API server generates one
	} else if err := requests.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		// A pending request would remain for a day.
		return nil, fmt.Errorf("deleting an old request: %w", err)
	}
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	pemRequest := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	name, uid, err := csr.RequestCertificateWithContext(ctx, srv.client, pemRequest, name, certificatesv1.KubeletServingSignerName, nil, usages, c.key)
	if err != nil {
		return nil, err
	}
	request, err := requests.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type:    certificatesv1.CertificateApproved,
		Status:  corev1.ConditionTrue,
		Reason:  "HollowNode",
		Message: "Approved by the hollow nodes that serve with it.",
	})
	if _, err := requests.UpdateApproval(ctx, name, request, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	data, err := csr.WaitForCertificate(ctx, srv.client, name, uid)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("request %s: the certificate is not PEM", name)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	_ = requests.Delete(ctx, name, metav1.DeleteOptions{})
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: c.key, Leaf: leaf}, nil
}
