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
	// certificateWait is how long the first connections wait for the certificate
	// of the cluster's CA, which takes milliseconds to get.
	certificateWait = 10 * time.Second
	// certificateRetry is the pause after a request for one that failed.
	certificateRetry = time.Minute
)

// certificate is what the server shows: one of the cluster's CA, and until there
// is one, or for good where nobody signs, one that it has made itself.
type certificate struct {
	key     *ecdsa.PrivateKey
	request []byte // PEM

	mu      sync.Mutex
	current *tls.Certificate
	// settled is closed when current is what the API server believes, or when
	// there is no use in waiting for that.
	settled chan struct{}
	settle  func()
}

func newCertificate(srv *server) (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// The name is that of one node, the address that of all: it is what counts.
	subject := pkix.Name{CommonName: "system:node:" + srv.names[0], Organization: []string{"system:nodes"}}
	ips := []net.IP{srv.address.Addr().AsSlice()}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, IPAddresses: ips}, key)
	if err != nil {
		return nil, err
	}
	own := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      subject,
		IPAddresses:  ips,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, own, own, key.Public(), key)
	if err != nil {
		return nil, err
	}
	c := &certificate{
		key:     key,
		request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}),
		current: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		settled: make(chan struct{}),
	}
	c.settle = sync.OnceFunc(func() { close(c.settled) })
	return c, nil
}

// get is for tls.Config.
func (c *certificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	select {
	case <-c.settled:
	case <-hello.Context().Done():
		return nil, hello.Context().Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current, nil
}

// keepCertificate gets a certificate, and another when two thirds of its life
// are over, until ctx ends.
func (srv *server) keepCertificate(ctx context.Context) {
	c := srv.certificate
	timer := time.AfterFunc(certificateWait, c.settle)
	defer timer.Stop()
	defer c.settle()
	for {
		// The approver looks for the node.
		select {
		case <-srv.registered:
		case <-ctx.Done():
			return
		}
		pause := certificateRetry
		signed, err := srv.obtain(ctx)
		switch {
		case err == nil:
			c.mu.Lock()
			c.current = signed
			c.mu.Unlock()
			c.settle()
			pause = time.Until(signed.Leaf.NotAfter) - signed.Leaf.NotAfter.Sub(signed.Leaf.NotBefore)/3
		case ctx.Err() != nil:
			return
		case apierrors.IsNotFound(err):
			srv.logger.Info("certificates.k8s.io/v1 is not served: logs need Config.KubeletInsecureTLS of the control plane")
			return
		default:
			srv.logger.Warn("no serving certificate yet; it will be tried again", zap.Duration("in", certificateRetry), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(pause, certificateRetry)):
		}
	}
}

// obtain asks for a serving certificate, like a kubelet, and approves it, like
// the operator of these nodes.
func (srv *server) obtain(ctx context.Context) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	c := srv.certificate
	requests := srv.client.CertificatesV1().CertificateSigningRequests()
	name := "hollownode-" + srv.names[0]
	// One that nobody has signed would stay for a day.
	if err := requests.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("deleting an old request: %w", err)
	}
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	name, uid, err := csr.RequestCertificateWithContext(ctx, srv.client, c.request, name, certificatesv1.KubeletServingSignerName, nil, usages, c.key)
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
