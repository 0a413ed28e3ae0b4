// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/pki"
)

func decided(r *certificatesv1.CertificateSigningRequest) bool { return len(r.Status.Conditions) > 0 }

// kubeletWith serves like a kubelet of node, which it registers.
func kubeletWith(t *testing.T, server *controlplane.Server, node string, cert func() tls.Certificate) *httptest.Server {
	t.Helper()
	kubelet := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, node+r.URL.Path)
	}))
	kubelet.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c := cert()
			return &c, nil
		}}
	kubelet.StartTLS()
	t.Cleanup(kubelet.Close)
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{address(corev1.NodeInternalIP, "127.0.0.1")}}}
	object.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(kubelet.Listener.Addr().(*net.TCPAddr).Port)
	if _, err := admin(t, server).CoreV1().Nodes().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return kubelet
}

func proxied(t *testing.T, server *controlplane.Server, node string) (string, error) {
	t.Helper()
	body, err := admin(t, server).CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/" + node + "/proxy/pods").DoRaw(t.Context())
	return string(body), err
}

// A DataDir of a release that signed the certificates of kubelets with the cluster's CA
// gets the other CA at its start. Kubelets are called by their old certificates until
// they have renewed them, and CAs, keys and kubeconfigs stay.
func TestDataDirWithoutKubeletCA(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir()}
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	bundle := server.CABundle()
	closeServer(t, server)
	dir := filepath.Join(cfg.DataDir, "pki")
	files := []string{filepath.Join(dir, "kubelet-serving-ca.crt"), filepath.Join(dir, "kubelet-serving-ca.key")}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
			t.Errorf("mode of %s: got %v, want nothing for others", file, info.Mode())
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	identities, err := pki.Open(pki.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// Older releases wrote no record either.
	for _, file := range append(files, filepath.Join(cfg.DataDir, "cluster.json")) {
		_ = os.Remove(file)
	}
	old := func(node string) tls.Certificate {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: nodeSubject(node), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		der, err := x509.CreateCertificate(rand.Reader, template, identities.CA().Cert, private.Public(), identities.CA().Key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	}
	first := old("n1")
	other := old("n2")

	server = start(t, cfg)
	if string(server.CABundle()) != string(bundle) {
		t.Error("got another CA of the cluster, want the same")
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	current := first
	served := kubeletWith(t, server, "n1", func() tls.Certificate { return current })
	if body, err := proxied(t, server, "n1"); err != nil || body != "n1/pods" {
		t.Errorf("with the old certificate: got %q, %v, want n1/pods", body, err)
	}
	// It renews.
	kubelet := asNode(t, server, "n1")
	request := asks("n1", "127.0.0.1")
	cert := wantSigned(t, server, request.create(t, kubelet), x509.ExtKeyUsageServerAuth)
	kubeletWith(t, server, "n3", func() tls.Certificate { return other })
	if body, err := proxied(t, server, "n3"); err == nil {
		t.Errorf("with the certificate of n2: got %q, want an error", body)
	}
	current = tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: request.key}
	served.CloseClientConnections()
	if body, err := proxied(t, server, "n1"); err != nil || body != "n1/pods" {
		t.Errorf("with the new certificate: got %q, %v, want n1/pods", body, err)
	}
	// A host in place of a kubelet.
	pair, err := server.NodeServingCertificate("n4", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	own, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	kubeletWith(t, server, "n4", func() tls.Certificate { return own })
	if body, err := proxied(t, server, "n4"); err != nil || body != "n4/pods" {
		t.Errorf("with a certificate of NodeServingCertificate: got %q, %v, want n4/pods", body, err)
	}
	if _, err := server.NodeServingCertificate("Not a node", "127.0.0.1"); err == nil {
		t.Error("a certificate for no node: got no error, want one")
	}
}
