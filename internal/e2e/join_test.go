// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"slices"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestJoin: two workers join with the same file. Each gets its own certificates, and
// does not need the file afterwards.
func TestJoin(t *testing.T) {
	p, server := startServer(t, controlplane.Config{})
	join := joinKubeconfig(t, server, time.Hour)
	p.joinKubeconfig = func(*testing.T) []byte { return join }
	k, client := p.kubectl(t), p.client(t)
	workers := []*worker{startWorker(t, p, "worker1"), startWorker(t, p, "worker2")}

	keys := map[string]bool{}
	serving := map[string]*x509.Certificate{}
	for _, w := range workers {
		waitNode(t, client, w.name, ready)
		certificate, err := w.clientCertificate()
		if err != nil {
			t.Fatal(err)
		}
		wantIdentity(t, w, certificate, x509.ExtKeyUsageClientAuth)
		want(t, kubectlFor(t, w.kubeconfig(t)).ok(t, "auth", "whoami"), "system:node:"+w.name, "system:nodes")
		keys[string(certificate.RawSubjectPublicKeyInfo)] = true

		serving[w.name] = waitServing(t, w)
		wantIdentity(t, w, serving[w.name], x509.ExtKeyUsageServerAuth)
		if ips := serving[w.name].IPAddresses; len(ips) != 1 || ips[0].String() != w.address || !slices.Equal(serving[w.name].DNSNames, []string{w.name}) {
			t.Errorf("the serving certificate of %s is for %v and %v, want %s and its name", w.name, ips, serving[w.name].DNSNames, w.address)
		}
		keys[string(serving[w.name].RawSubjectPublicKeyInfo)] = true
	}
	if len(keys) != 4 {
		t.Errorf("%d keys for 4 certificates", len(keys))
	}
	before := requests(t, p)
	for _, request := range before {
		if row := table(t, k.ok(t, "get", "csr", request))[0]; row["CONDITION"] != "Approved,Issued" {
			t.Errorf("got %v", row)
		}
	}

	// The file only allows certificate requests.
	joiner := kubectlFor(t, join)
	wantIs(t, joiner.ok(t, "auth", "can-i", "create", "certificatesigningrequests"), "yes")
	for _, args := range [][]string{
		{"get", "nodes"}, {"get", "pods"}, {"get", "secrets", "--namespace=kube-system"},
		{"annotate", "csr", before[0], "a=b"}, {"delete", "csr", before[0]},
	} {
		joiner.fails(t, "", "orbidden", args...)
	}

	if err := server.RevokeJoinKubeconfig(t.Context(), join); err != nil {
		t.Fatal(err)
	}
	joiner.fails(t, "", "Unauthorized", "get", "--raw", "/api")
	revoked := metav1.NowMicro()
	for _, w := range workers {
		waitLease(t, client, w.name, renewedAfter(revoked))
	}
	// The workers do not need the file to start: for one it is revoked, for the other
	// removed.
	if err := os.Remove(workers[1].file("join.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, w := range workers {
		w.kill(t)
		killed := metav1.NowMicro()
		w.start(t)
		waitLease(t, client, w.name, renewedAfter(killed))
		waitNode(t, client, w.name, ready)
		if again := waitServing(t, w); !again.Equal(serving[w.name]) {
			t.Errorf("%s has another serving certificate after its restart", w.name)
		}
		k.ok(t, "run", "on-"+w.name, "--image=nginx:latest", `--overrides={"spec":{"nodeName":"`+w.name+`"}}`)
		waitPod(t, client, "on-"+w.name, running)
		wantIs(t, k.ok(t, "exec", "on-"+w.name, "--", "echo", "reached"), "reached")
	}
	if after := requests(t, p); !slices.Equal(after, before) {
		t.Errorf("certificate requests %v, there were %v before the restarts", after, before)
	}
	wantNodes(t, k, "worker1", "worker2")
}

// wantIdentity requires a certificate of the node for one use.
func wantIdentity(t *testing.T, w *worker, certificate *x509.Certificate, usage x509.ExtKeyUsage) {
	t.Helper()
	subject := certificate.Subject
	if subject.CommonName != "system:node:"+w.name || !slices.Equal(subject.Organization, []string{"system:nodes"}) ||
		!slices.Equal(certificate.ExtKeyUsage, []x509.ExtKeyUsage{usage}) || certificate.IsCA {
		t.Errorf("the certificate of %s is for %s with uses %v", w.name, subject, certificate.ExtKeyUsage)
	}
}

// requests returns the sorted names of all certificate requests.
func requests(t *testing.T, p plane) []string {
	t.Helper()
	var names []string
	for _, request := range listRequests(t, p) {
		names = append(names, request.Name)
	}
	slices.Sort(names)
	return names
}

func listRequests(t *testing.T, p plane) []certificatesv1.CertificateSigningRequest {
	t.Helper()
	list, err := p.client(t).CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// TestNodeKubeconfig joins with a node's kubeconfig: the kubelet replaces its
// certificate by one with a new key.
func TestNodeKubeconfig(t *testing.T) {
	p, _ := startServer(t, controlplane.Config{})
	w := newWorker(t, p, "worker1")
	given := p.nodeKubeconfig(t, "worker1")
	w.write(t, "kubeconfig.yaml", given)
	if err := os.Remove(w.file("join.yaml")); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	w.setAddress(t, p.client(t))
	waitNode(t, p.client(t), "worker1", ready)
	waitServing(t, w)
	config, err := clientcmd.RESTConfigFromKubeConfig(given)
	if err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "a certificate of its own", func(context.Context) error {
		content, err := os.ReadFile(w.file("pki", "kubelet-client-current.pem"))
		return unless(err == nil && !bytes.Contains(content, bytes.TrimSpace(config.CertData)) && !bytes.Contains(content, bytes.TrimSpace(config.KeyData)), err)
	})
	certificate, err := w.clientCertificate()
	if err != nil {
		t.Fatal(err)
	}
	wantIdentity(t, w, certificate, x509.ExtKeyUsageClientAuth)
}
