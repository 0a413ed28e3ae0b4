// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestRotation waits for the end of the first certificates of a kubelet. A kubelet
// renews a certificate after 70 to 90 % of its lifetime, and all certificates are
// backdated by five minutes: it renews certificates as short as these all the time.
func TestRotation(t *testing.T) {
	t.Parallel() // it mostly waits
	p, _ := startServer(t, controlplane.Config{ClusterSigningDuration: 20 * time.Second})
	client := p.client(t)
	w := startWorker(t, p, "worker1")
	waitNode(t, client, "worker1", ready)
	servingBefore := waitServing(t, w)
	clientBefore, err := w.clientCertificate()
	if err != nil {
		t.Fatal(err)
	}
	asBefore := w.client(t) // with that certificate, or the next one
	for _, certificate := range []*x509.Certificate{servingBefore, clientBefore} {
		if left := time.Until(certificate.NotAfter); left > 20*time.Second {
			t.Errorf("%s is valid for %v more", certificate.Subject, left)
		}
	}

	testwait.Until(t, "a new client certificate", func(context.Context) error {
		certificate, err := w.clientCertificate()
		return unless(err == nil && !certificate.Equal(clientBefore), err)
	})
	testwait.Until(t, "a new serving certificate", func(context.Context) error {
		certificate, err := w.serving()
		return unless(err == nil && !certificate.Equal(servingBefore), err)
	})
	testwait.Until(t, "the end of the old client certificate", func(context.Context) error {
		_, err := asBefore.CoreV1().Nodes().Get(t.Context(), "worker1", metav1.GetOptions{})
		return unless(apierrors.IsUnauthorized(err), err)
	})
	if now := time.Now(); now.Before(clientBefore.NotAfter) {
		t.Errorf("the old client certificate is refused at %v, before its end at %v", now, clientBefore.NotAfter)
	}

	// The kubelet continues with the new certificates.
	waitLease(t, client, "worker1", renewedAfter(metav1.NewMicroTime(clientBefore.NotAfter)))
	if !ready(waitNode(t, client, "worker1", ready)) || !w.running() {
		t.Error("the kubelet is not ready")
	}
	wantIs(t, p.kubectl(t).ok(t, "get", "--raw", "/api/v1/nodes/worker1/proxy/healthz"), "ok")
	renewals := map[string]int{}
	for _, request := range listRequests(t, p) {
		if request.Spec.Username == "system:node:worker1" && len(request.Status.Certificate) > 0 {
			renewals[request.Spec.SignerName]++
		}
	}
	if renewals[certificatesv1.KubeAPIServerClientKubeletSignerName] < 1 || renewals[certificatesv1.KubeletServingSignerName] < 2 {
		t.Errorf("requests that the node has made: %v", renewals)
	}
}
