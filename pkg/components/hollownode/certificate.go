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
	// certificateWait is how long a connection waits for the certificate of its node,
	// which takes milliseconds to get. Clients give up a handshake after ten seconds.
	certificateWait = 5 * time.Second
	// certificateRetry is the pause after a request for one that failed.
	certificateRetry = time.Minute
	// maxRequestName is how long the name of a request may be.
	maxRequestName = 253
)

// certificates are what the server shows: a serving certificate for each node, for the
// API server calls no kubelet without one in the node's name. The node is the server
// name of the handshake. Each certificate is asked for when its node is first called:
// most nodes never are. Where nobody signs, the server shows one that it has made.
type certificates struct {
	srv *server
	key *ecdsa.PrivateKey

	mu     sync.Mutex
	byNode map[string]*certificate
	// unsigned is until when nothing is asked for, after a request has failed.
	unsigned time.Time
	// unserved is that the API server has no certificates.k8s.io/v1.
	unserved bool
}

// certificate is that of one node. turn is a lock with a channel, for select: the
// goroutine that has put something into it may ask for the certificate.
type certificate struct {
	turn    chan struct{}
	current *tls.Certificate
	due     time.Time // when another is asked for
}

func newCertificates(srv *server) (*certificates, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &certificates{srv: srv, key: key, byNode: map[string]*certificate{}}, nil
}

// get is for tls.Config.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	node := hello.ServerName
	if c.srv.nodes[node] == nil {
		node = c.srv.names[0]
	}
	ctx, cancel := context.WithTimeout(hello.Context(), certificateWait)
	defer cancel()
	one := c.of(node)
	select {
	case one.turn <- struct{}{}:
		defer func() { <-one.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if one.current != nil && time.Now().Before(one.due) {
		return one.current, nil
	}
	signed, err := c.signed(ctx, node)
	if err != nil {
		return nil, err
	}
	if signed == nil {
		return c.selfSigned(node)
	}
	one.current = signed
	one.due = signed.Leaf.NotAfter.Add(-signed.Leaf.NotAfter.Sub(signed.Leaf.NotBefore) / 3)
	return signed, nil
}

func (c *certificates) of(node string) *certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byNode[node] == nil {
		c.byNode[node] = &certificate{turn: make(chan struct{}, 1)}
	}
	return c.byNode[node]
}

// signed returns a certificate for node, or none where nobody signs.
func (c *certificates) signed(ctx context.Context, node string) (*tls.Certificate, error) {
	c.mu.Lock()
	hopeless := c.unserved || time.Now().Before(c.unsigned)
	c.mu.Unlock()
	if hopeless {
		return nil, nil
	}
	signed, err := c.obtain(ctx, node)
	switch {
	case err == nil:
		return signed, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err() // the client is gone, or the nodes are
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if apierrors.IsNotFound(err) {
		if !c.unserved {
			c.srv.logger.Info("certificates.k8s.io/v1 is not served: logs need Config.KubeletInsecureTLS of the control plane")
		}
		c.unserved = true
		return nil, nil
	}
	c.unsigned = time.Now().Add(certificateRetry)
	c.srv.logger.Warn("no serving certificate yet; it will be tried again", zap.String("node", node), zap.Duration("in", certificateRetry), zap.Error(err))
	return nil, nil
}

func (c *certificates) subject(node string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}
}

func (c *certificates) ips() []net.IP { return []net.IP{c.srv.address.Addr().AsSlice()} }

// selfSigned is for control planes that believe any certificate.
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

// obtain asks for a serving certificate, like the kubelet of node, and approves it,
// like the operator of these nodes.
func (c *certificates) obtain(ctx context.Context, node string) (*tls.Certificate, error) {
	srv := c.srv
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: c.subject(node), IPAddresses: c.ips()}, c.key)
	if err != nil {
		return nil, err
	}
	requests := srv.client.CertificatesV1().CertificateSigningRequests()
	name := "hollownode-" + node
	if len(name) > maxRequestName {
		name = "" // one is generated
	} else if err := requests.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		// One that nobody has signed would stay for a day.
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
