// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/testwait"
)

// port is the port of a kubelet's API.
const port = "10250"

// clientCertificate returns the current client certificate of a worker's kubelet.
func (w *worker) clientCertificate() (*x509.Certificate, error) {
	content, err := os.ReadFile(w.file("pki", "kubelet-client-current.pem"))
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("no certificate in the file")
}

// clientConfig returns a configuration with the current credentials of a worker's
// kubelet.
func (w *worker) clientConfig(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", w.file("kubeconfig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Load the files: client-go would watch them with a goroutine that never ends.
	if err := rest.LoadTLSFiles(config); err != nil {
		t.Fatal(err)
	}
	config.CAFile, config.CertFile, config.KeyFile = "", "", ""
	config.QPS = -1
	return config
}

// client returns a client with the credentials of a worker's kubelet.
func (w *worker) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(w.clientConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// kubeconfig returns the kubeconfig file that a worker's kubelet has written.
func (w *worker) kubeconfig(t *testing.T) []byte {
	t.Helper()
	return []byte(read(t, w.file("kubeconfig.yaml")))
}

// serving returns the serving certificate of a worker's kubelet, verified for the
// worker's address.
func (w *worker) serving() (*x509.Certificate, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", net.JoinHostPort(w.address, port), w.servingTLS())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// servingTLS accepts a certificate that the control plane has signed for the kubelet of
// a worker. It identifies the CA only by its name: not all control planes are in this
// process, and their clients do not trust the CA.
func (w *worker) servingTLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf := state.PeerCertificates[0]
			if issuer := leaf.Issuer.CommonName; issuer != "kubembed-kubelet-serving-ca" {
				return fmt.Errorf("the certificate is of %q", issuer)
			}
			if subject := leaf.Subject.CommonName; subject != "system:node:"+w.name {
				return fmt.Errorf("the certificate is for %q", subject)
			}
			return leaf.VerifyHostname(w.address)
		},
	}
}

// waitServing waits until the kubelet of a worker has its serving certificate.
func waitServing(t *testing.T, w *worker) *x509.Certificate {
	t.Helper()
	var got *x509.Certificate
	testwait.Until(t, "a serving certificate of "+w.name, func(context.Context) error {
		certificate, err := w.serving()
		got = certificate
		return unless(err == nil, err)
	})
	return got
}
