// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/pkg/kubelet/certificate/bootstrap"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

const (
	month = 30 * 24 * time.Hour
	year  = 365 * 24 * time.Hour
)

// validFor returns the remaining lifetime of a certificate, rounded to days.
func validFor(c *x509.Certificate) time.Duration {
	return time.Until(c.NotAfter).Round(24 * time.Hour)
}

// TestRevokedWorker revokes the identity of a running kubelet, and another one takes
// its place.
func TestRevokedWorker(t *testing.T) {
	p, server := startServer(t, controlplane.Config{})
	client := p.client(t)
	first := startWorker(t, p, "worker1")
	uid := waitNode(t, client, "worker1", ready).UID
	certificate, err := first.clientCertificate()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]*x509.Certificate{"client": certificate, "serving": waitServing(t, first)} {
		if got := validFor(c); got != month {
			t.Errorf("the %s certificate of a kubelet that renews it: got lifetime %s, want a month", what, got)
		}
	}

	if err := server.RevokeNode(t.Context(), "worker1"); err != nil {
		t.Fatal(err)
	}
	first.waitLog(t, "Unauthorized")
	p.kubectl(t).fails(t, "", "not found", "get", "node", "worker1")
	second := startWorker(t, p, "worker1")
	waitNode(t, client, "worker1", func(node *corev1.Node) bool { return ready(node) && node.UID != uid })
	if !second.running() {
		t.Error("the second worker1 has not joined")
	}
	first.kill(t)
}

// TestFirstCertificateWithoutRotation requests a certificate like a kubelet without
// rotateCertificates, which never renews it. The name of the request shows that.
func TestFirstCertificateWithoutRotation(t *testing.T) {
	_, server := startServer(t, controlplane.Config{})
	dir := t.TempDir()
	file := filepath.Join(dir, "join.yaml")
	if err := os.WriteFile(file, joinKubeconfig(t, server, time.Hour), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := bootstrap.LoadClientCert(t.Context(), filepath.Join(dir, "kubeconfig"), file, dir, "still"); err != nil {
		t.Fatal(err)
	}
	certificates, err := cert.CertsFromFile(filepath.Join(dir, "kubelet-client-current.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if got := validFor(certificates[0]); got != year {
		t.Errorf("valid for %s, want a year", got)
	}
}
