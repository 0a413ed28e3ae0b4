// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestPodCertificate runs a pod with its own certificate: the kubelet requests it, and
// a user-defined signer issues it. The kubelet also writes the CA of the API server,
// which the controllers publish.
func TestPodCertificate(t *testing.T) {
	p, server := startServer(t, controlplane.Config{Components: []controlplane.Component{
		controllers.New(controllers.Config{}),
	}})
	k, client := p.kubectl(t), p.client(t)
	w := startWorker(t, p, "worker1")
	waitNode(t, client, "worker1", ready)
	k.ok(t, "apply", "-f", "testdata/podcertificate.yaml")

	var request certificatesv1.PodCertificateRequest
	testwait.Until(t, "a request", func(context.Context) error {
		list, err := client.CertificatesV1().PodCertificateRequests("default").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 {
			return unless(false, err)
		}
		request = list.Items[0]
		return nil
	})
	if s := request.Spec; s.SignerName != "example.com/pods" || s.PodName != "server" || s.NodeName != "worker1" || s.ServiceAccountName != "default" {
		t.Errorf("the request is %+v", s)
	}
	issue(t, client, &request)

	pod := waitPod(t, client, "server", running)
	pair, err := tls.X509KeyPair([]byte(read(t, w.volume(pod.UID, "projected", "identity", "bundle.pem"))),
		[]byte(read(t, w.volume(pod.UID, "projected", "identity", "bundle.pem"))))
	if err != nil {
		t.Fatal(err)
	}
	if pair.Leaf.Subject.CommonName != "server.default" {
		t.Errorf("the certificate is for %v", pair.Leaf.Subject)
	}
	wantIs(t, read(t, w.volume(pod.UID, "projected", "identity", "apiserver.pem")), strings.TrimSpace(string(server.CABundle())))
}

// issue signs a request as a signer would.
func issue(t *testing.T, client kubernetes.Interface, request *certificatesv1.PodCertificateRequest) {
	t.Helper()
	stub, err := x509.ParseCertificateRequest(request.Spec.StubPKCS10Request)
	if err != nil {
		t.Fatal(err)
	}
	notBefore := time.Now().Add(-time.Minute).Truncate(time.Second).UTC()
	certificate, err := signFor(stub.PublicKey, request.Spec.PodName+"."+request.Namespace, notBefore, notBefore.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	before, refresh, after := metav1.NewTime(notBefore), metav1.NewTime(notBefore.Add(12*time.Hour)), metav1.NewTime(notBefore.Add(24*time.Hour))
	request.Status = certificatesv1.PodCertificateRequestStatus{
		CertificateChain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})),
		NotBefore:        &before, BeginRefreshAt: &refresh, NotAfter: &after,
		Conditions: []metav1.Condition{{
			Type: certificatesv1.PodCertificateRequestConditionTypeIssued, Status: metav1.ConditionTrue,
			Reason: "Issued", Message: "for the test", LastTransitionTime: metav1.Now(),
		}},
	}
	if _, err := client.CertificatesV1().PodCertificateRequests(request.Namespace).UpdateStatus(t.Context(), request, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// signFor issues a certificate from an untrusted CA.
func signFor(key crypto.PublicKey, name string, notBefore, notAfter time.Time) ([]byte, error) {
	_, ca, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: notBefore, NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "ca of pods"}}, key, ca)
}
