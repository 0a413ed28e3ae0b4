// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	certutil "k8s.io/client-go/util/cert"
	kubeletconfigv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// TestJoinFileAsksForCertificatesOnly uses the join file as a kubelet does, and as a
// thief would. internal/e2e tests kubelets further.
func TestJoinFileAsksForCertificatesOnly(t *testing.T) {
	m := start(t)
	worker, _ := m.client(t, joinFile)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := certutil.MakeCSR(key, &pkix.Name{CommonName: "system:node:worker1", Organization: []string{"system:nodes"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	request, err := worker.CertificatesV1().CertificateSigningRequests().Create(ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem,
			SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	admin, _ := m.client(t, adminFile)
	token, err := admin.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, user(t, filepath.Join(m.dir, joinFile)), metav1.GetOptions{})
	if err != nil {
		t.Error("the user of the join file is not called as its Secret:", err)
	} else if want := "system:bootstrap:" + string(token.Data["token-id"]); request.Spec.Username != want {
		t.Errorf("the request is by %q, want %q", request.Spec.Username, want)
	}

	_, err = worker.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker1"}}, metav1.CreateOptions{})
	forbidden(t, "registers a node", err)
	_, err = worker.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	forbidden(t, "lists nodes", err)
	_, err = worker.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	forbidden(t, "lists pods", err)
	_, err = worker.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	forbidden(t, "lists secrets", err)
	_, err = worker.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, request.Name, request, metav1.UpdateOptions{})
	forbidden(t, "approves its request", err)
}

func forbidden(t *testing.T, what string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("the join file %s: %v", what, err)
	}
}

// TestWorkerText runs the printed commands for a worker, without the kubelet. README.md
// has the same commands.
func TestWorkerText(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh here:", err)
	}
	m := start(t)
	script := m.find(t, `(?m)((?s)^sed .*?^EOF\n)`)
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := script + m.find(t, `(?m)((?s)^sudo kubelet .*?=worker1\n)`); !strings.Contains(string(page), want) {
		t.Errorf("README.md does not have this:\n%s", want)
	}
	worker := exec.CommandContext(t.Context(), sh, "-eu", "-c", script)
	worker.Dir = m.dir
	if out, err := worker.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	_, client := m.client(t, joinFile)
	ca, err := os.ReadFile(filepath.Join(m.dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if string(ca) != string(client.CAData) {
		t.Errorf("ca.crt is not the CA of the join file:\n%s", ca)
	}
	data, err := os.ReadFile(filepath.Join(m.dir, "kubelet.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var kubelet kubeletconfigv1beta1.KubeletConfiguration
	if err := yaml.UnmarshalStrict(data, &kubelet); err != nil {
		t.Fatal(err)
	}
	// By default a kubelet with a configuration file refuses clients without
	// credentials, and asks the API server about others. internal/e2e/realnode checks
	// both.
	if ca := kubelet.Authentication.X509.ClientCAFile; ca != "ca.crt" || kubelet.Authentication.Anonymous.Enabled != nil || kubelet.Authorization.Mode != "" {
		t.Errorf("got %s, want the default authentication and authorization with clientCAFile ca.crt", data)
	}
	if !kubelet.RotateCertificates || !kubelet.ServerTLSBootstrap {
		t.Errorf("got %s, want rotateCertificates and serverTLSBootstrap", data)
	}
	for flag := range strings.FieldsSeq(m.find(t, `\nsudo kubelet (.*)`)) {
		name, file, _ := strings.Cut(flag, "=")
		_, err := os.Stat(filepath.Join(m.dir, file))
		if (name == "--config" || name == "--bootstrap-kubeconfig") && err != nil {
			t.Error(flag, err)
		}
	}
}

// user returns the user of the current context.
func user(t *testing.T, file string) string {
	t.Helper()
	kubeconfig, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig.Contexts[kubeconfig.CurrentContext].AuthInfo
}
