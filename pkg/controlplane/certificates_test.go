// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// csr is the request of a kubelet of node n1. Tests change parts of it.
type csr struct {
	x509.CertificateRequest
	certificatesv1.CertificateSigningRequestSpec
	key *ecdsa.PrivateKey
}

func clientCSR(node string) *csr {
	return &csr{
		CertificateRequest: x509.CertificateRequest{Subject: nodeSubject(node)},
		CertificateSigningRequestSpec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}
}

func servingCSR(node string) *csr {
	return &csr{
		CertificateRequest: x509.CertificateRequest{Subject: nodeSubject(node), DNSNames: []string{node}},
		CertificateSigningRequestSpec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeletServingSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
		},
	}
}

func nodeSubject(node string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}
}

// create makes the request as the client's user.
func (c *csr) create(t testing.TB, client kubernetes.Interface) (name string) {
	t.Helper()
	name, err := c.tryCreate(t, client)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func (c *csr) tryCreate(t testing.TB, client kubernetes.Interface) (name string, err error) {
	t.Helper()
	if c.key == nil {
		if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &c.CertificateRequest, c.key)
	if err != nil {
		t.Fatal(err)
	}
	c.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	created, err := client.CertificatesV1().CertificateSigningRequests().Create(t.Context(), &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec:       c.CertificateSigningRequestSpec,
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return created.Name, nil
}

// waitForRequest returns the request when condition is true of it.
func waitForRequest(t testing.TB, client kubernetes.Interface, name string, condition func(*certificatesv1.CertificateSigningRequest) bool) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	requests := testwait.Named(client.CertificatesV1().RESTClient(), "certificatesigningrequests", "", name)
	return testwait.Object(t, requests, &certificatesv1.CertificateSigningRequest{}, condition)
}

// condition is the request's condition of that type.
func condition(request *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i, c := range request.Status.Conditions {
		if c.Type == kind {
			return &request.Status.Conditions[i]
		}
	}
	return nil
}

// wantDenied waits until the request is denied for that reason.
func wantDenied(t testing.TB, client kubernetes.Interface, name, reason, message string) {
	t.Helper()
	request := waitForRequest(t, client, name, func(r *certificatesv1.CertificateSigningRequest) bool { return len(r.Status.Conditions) > 0 })
	got := condition(request, certificatesv1.CertificateDenied)
	if got == nil {
		t.Fatalf("conditions: got %+v, want Denied", request.Status.Conditions)
	}
	if got.Reason != reason || !strings.Contains(got.Message, message) {
		t.Errorf("denied because of %s: %s; want %s: %s", got.Reason, got.Message, reason, message)
	}
}

// wantSigned waits for the certificate and checks it against the CA.
func wantSigned(t testing.TB, server *controlplane.Server, name string, usage x509.ExtKeyUsage) *x509.Certificate {
	t.Helper()
	request := waitForRequest(t, admin(t, server), name, func(r *certificatesv1.CertificateSigningRequest) bool {
		return len(r.Status.Certificate) > 0 || condition(r, certificatesv1.CertificateDenied) != nil || condition(r, certificatesv1.CertificateFailed) != nil
	})
	block, _ := pem.Decode(request.Status.Certificate)
	if block == nil {
		t.Fatalf("got no certificate and the conditions %+v, want a certificate", request.Status.Conditions)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	cluster, kubelets := x509.NewCertPool(), x509.NewCertPool()
	cluster.AppendCertsFromPEM(server.CABundle())
	kubelets.AppendCertsFromPEM(server.KubeletServingCABundle())
	roots, others := cluster, kubelets
	if usage == x509.ExtKeyUsageServerAuth { // only kubelets ask for it
		roots, others = kubelets, cluster
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		t.Error(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: others, KeyUsages: []x509.ExtKeyUsage{usage}}); err == nil {
		t.Errorf("%s verified by the other CA: got no error, want one", cert.Subject)
	}
	if cert.IsCA || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{usage}) {
		t.Errorf("got IsCA %v and usages %v, want false and [%v]", cert.IsCA, cert.ExtKeyUsage, usage)
	}
	return cert
}

// wantVerdictLogged waits for the log line about the request, which follows the update of
// the request.
func wantVerdictLogged(t testing.TB, logs *observer.ObservedLogs, message string, level zapcore.Level, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := lifecycle.Poll(ctx, func() bool {
		return slices.ContainsFunc(logs.FilterMessage(message).All(), func(e observer.LoggedEntry) bool {
			return e.Level == level && e.ContextMap()["request"] == name && e.ContextMap()["user"] != ""
		})
	})
	if err != nil {
		t.Errorf("log: got no %q of %s, want one", message, name)
	}
}

// asNode is the client of a kubelet.
func asNode(t testing.TB, server *controlplane.Server, name string) *kubernetes.Clientset {
	t.Helper()
	kubeconfig, err := server.NodeKubeconfig(name)
	if err != nil {
		t.Fatal(err)
	}
	config := fromKubeconfig(t, kubeconfig)
	// The advertised address is not always one of this machine.
	_, port, err := net.SplitHostPort(hostPort(t, server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	config.Host = "https://" + net.JoinHostPort("127.0.0.1", port)
	return clientFor(t, config)
}

// register makes the Node as its kubelet does.
func register(t testing.TB, kubelet kubernetes.Interface, name string, addresses ...corev1.NodeAddress) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Addresses: addresses}}
	if _, err := kubelet.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func address(kind corev1.NodeAddressType, value string) corev1.NodeAddress {
	return corev1.NodeAddress{Type: kind, Address: value}
}

// TestJoinTokenRequests asks for certificates with a join token.
func TestJoinTokenRequests(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	server := start(t, controlplane.Config{Logger: zap.New(core)})
	register(t, asNode(t, server, "there"), "there")
	kubeconfig, err := server.JoinKubeconfig(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	client := clientFor(t, fromKubeconfig(t, kubeconfig))

	t.Run("approved", func(t *testing.T) {
		request := clientCSR("n1")
		name := request.create(t, client)
		cert := wantSigned(t, server, name, x509.ExtKeyUsageClientAuth)
		if cert.Subject.CommonName != "system:node:n1" || !slices.Equal(cert.Subject.Organization, []string{"system:nodes"}) || !request.key.PublicKey.Equal(cert.PublicKey) {
			t.Errorf("subject: got %s, want system:node:n1 of system:nodes, with the key of the request", cert.Subject)
		}
		if got := time.Until(cert.NotAfter).Round(time.Hour); got != 30*24*time.Hour {
			t.Errorf("valid for %s, want 30 days", got)
		}
		wantVerdictLogged(t, logs, "certificate request approved", zap.InfoLevel, name)
	})
	t.Run("with RSA", func(t *testing.T) {
		request := clientCSR("n2")
		request.Usages = append(request.Usages, certificatesv1.UsageKeyEncipherment)
		wantSigned(t, server, request.create(t, client), x509.ExtKeyUsageClientAuth)
	})
	for _, c := range []struct {
		name    string
		change  func(*csr)
		message string
	}{
		{"node that exists", func(c *csr) { c.Subject.CommonName = "system:node:there" }, "kubectl delete node there"},
		{"user", func(c *csr) { c.Subject.CommonName = "jane" }, "common name does not begin with system:node:"},
		{"no name", func(c *csr) { c.Subject.CommonName = "system:node:" }, "cannot be the name of a node"},
		{"impossible name", func(c *csr) { c.Subject.CommonName = "system:node:Not a name" }, "cannot be the name of a node"},
		{"wrong group", func(c *csr) { c.Subject.Organization = []string{"admins"} }, "organization is not system:nodes"},
		{"no group", func(c *csr) { c.Subject.Organization = nil }, "organization is not system:nodes"},
		{"one group more", func(c *csr) { c.Subject.Organization = append(c.Subject.Organization, "admins") }, "organization is not system:nodes"},
		{"DNS name", func(c *csr) { c.DNSNames = []string{"n3"} }, "DNS subjectAltNames"},
		{"IP address", func(c *csr) { c.IPAddresses = []net.IP{net.IPv4(10, 1, 1, 1)} }, "IP subjectAltNames"},
		{"e-mail", func(c *csr) { c.EmailAddresses = []string{"n3@example.com"} }, "Email subjectAltNames"},
		{"URI", func(c *csr) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "n3"}} }, "URI subjectAltNames"},
		{"usage", func(c *csr) { c.Usages = append(c.Usages, certificatesv1.UsageServerAuth) }, "usages did not match"},
		{"no usage", func(c *csr) { c.Usages = c.Usages[:1] }, "usages did not match"},
		{"serving certificate", func(c *csr) { *c = *servingCSR("n3") }, "a join token is for signer"},
		{"signer of users", func(c *csr) { c.SignerName = certificatesv1.KubeAPIServerClientSignerName }, "a join token is for signer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := clientCSR("n3")
			c.change(request)
			name := request.create(t, client)
			wantDenied(t, admin(t, server), name, "JoinRequestDenied", c.message)
			wantVerdictLogged(t, logs, "certificate request denied", zap.WarnLevel, name)
		})
	}
	t.Run("the denied leave the others alone", func(t *testing.T) {
		wantSigned(t, server, clientCSR("n3").create(t, client), x509.ExtKeyUsageClientAuth)
	})
}

// TestNodeClientRequests renews the client certificate of a node.
func TestNodeClientRequests(t *testing.T) {
	audit := filepath.Join(t.TempDir(), "audit.log")
	server := start(t, controlplane.Config{ClusterSigningDuration: time.Hour, Audit: apiserver.Audit{Log: apiserver.AuditLog{Path: audit}}})
	node := asNode(t, server, "n1")
	t.Run("renewal", func(t *testing.T) {
		name := clientCSR("n1").create(t, node)
		cert := wantSigned(t, server, name, x509.ExtKeyUsageClientAuth)
		if got := time.Until(cert.NotAfter); got > time.Hour || got < 50*time.Minute {
			t.Errorf("valid for %s, want an hour", got)
		}
	})
	t.Run("for less", func(t *testing.T) {
		request := clientCSR("n1")
		request.ExpirationSeconds = ptr.To[int32](1200)
		cert := wantSigned(t, server, request.create(t, node), x509.ExtKeyUsageClientAuth)
		if got := time.Until(cert.NotAfter); got > 20*time.Minute || got < 10*time.Minute {
			t.Errorf("valid for %s, want 20 minutes", got)
		}
	})
	for _, c := range []struct {
		name    string
		change  func(*csr)
		message string
	}{
		{"one group more", func(c *csr) { c.Subject.Organization = append(c.Subject.Organization, "admins") }, "organization is not system:nodes"},
		{"DNS name", func(c *csr) { c.DNSNames = []string{"n1"} }, "DNS subjectAltNames"},
		{"usage", func(c *csr) { c.Usages = append(c.Usages, certificatesv1.UsageServerAuth) }, "usages did not match"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := clientCSR("n1")
			c.change(request)
			wantDenied(t, admin(t, server), request.create(t, node), "NodeClientRequestDenied", c.message)
		})
	}
	// The audit log is complete by then.
	closeServer(t, server)
	lines, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	for _, subresource := range []string{"approval", "status"} {
		if !slices.ContainsFunc(strings.Split(string(lines), "\n"), func(line string) bool {
			return strings.Contains(line, `"user":{"username":"system:kube-controller-manager"`) && strings.Contains(line, `"subresource":"`+subresource+`"`)
		}) {
			t.Errorf("audit log: got no %s written by system:kube-controller-manager, want one", subresource)
		}
	}
}

// TestApprovalByHand: requests that no controller handles wait for an administrator.
func TestApprovalByHand(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	ours := clientCSR("")
	ours.Subject = pkix.Name{CommonName: "jane", Organization: []string{"developers"}}
	ours.SignerName = certificatesv1.KubeAPIServerClientSignerName
	wrong := *ours
	wrong.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth}
	other := *ours
	other.SignerName = "example.com/signer"

	approve := func(name string) {
		t.Helper()
		request := waitForRequest(t, client, name, func(*certificatesv1.CertificateSigningRequest) bool { return true })
		if len(request.Status.Conditions) > 0 {
			t.Errorf("got a verdict, want none: %+v", request.Status.Conditions)
		}
		request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "ByHand"})
		if _, err := client.CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), name, request, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	foreign := other.create(t, client)
	approve(foreign)
	bad := wrong.create(t, client)
	approve(bad)
	request := waitForRequest(t, client, bad, func(r *certificatesv1.CertificateSigningRequest) bool {
		return condition(r, certificatesv1.CertificateFailed) != nil
	})
	if got := condition(request, certificatesv1.CertificateFailed).Message; !strings.Contains(got, "invalid usage") {
		t.Errorf("Failed: got %s, want invalid usage", got)
	}
	good := ours.create(t, client)
	approve(good)
	if cert := wantSigned(t, server, good, x509.ExtKeyUsageClientAuth); cert.Subject.CommonName != "jane" {
		t.Errorf("subject: got %s, want jane", cert.Subject)
	}
	// The signer would have signed it earlier.
	request = waitForRequest(t, client, foreign, func(*certificatesv1.CertificateSigningRequest) bool { return true })
	if len(request.Status.Certificate) > 0 || len(request.Status.Conditions) != 1 {
		t.Errorf("a request for another signer: got %+v, want one condition and no certificate", request.Status)
	}
}
