// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"slices"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// Addresses of documentation networks.
const (
	ownAddress   = "192.0.2.10"
	nodeAddress1 = "192.0.2.11"
	nodeAddress2 = "192.0.2.12"
	nodeIPv6     = "2001:db8::11"
)

// startForOthers starts a control plane that other machines can reach, as
// ownAddress and kubembed.example.com.
func startForOthers(t *testing.T) *controlplane.Server {
	return start(t, controlplane.Config{BindAddress: "0.0.0.0:0", AdvertiseAddress: ownAddress, Hosts: []string{"kubembed.example.com"}})
}

// startWithNodes adds the nodes n1 and n2 and returns the client of n1's kubelet.
// n1 has registered addresses of others.
func startWithNodes(t *testing.T) (*controlplane.Server, *kubernetes.Clientset) {
	server := startForOthers(t)
	n1 := asNode(t, server, "n1")
	register(t, n1, "n1",
		address(corev1.NodeHostName, "n1"),
		address(corev1.NodeInternalIP, nodeAddress1), address(corev1.NodeExternalIP, nodeIPv6),
		address(corev1.NodeInternalDNS, "n1.internal.example.com"), address(corev1.NodeExternalDNS, "n1.example.com"),
		// Not its own.
		address(corev1.NodeInternalIP, nodeAddress2), address(corev1.NodeInternalIP, ownAddress),
		address(corev1.NodeInternalIP, "127.0.0.1"), address(corev1.NodeExternalIP, "::1"),
		address(corev1.NodeInternalIP, "169.254.169.254"), address(corev1.NodeInternalIP, "10.0.0.1"),
		address(corev1.NodeInternalDNS, "n2"), address(corev1.NodeInternalDNS, "n2.example.com"),
		address(corev1.NodeExternalDNS, "kubembed.example.com"), address(corev1.NodeExternalDNS, "kubernetes.default.svc"),
		address(corev1.NodeExternalDNS, "kubernetes"), address(corev1.NodeExternalDNS, "kubernetes.default.svc.cluster.local"),
		address(corev1.NodeInternalDNS, "localhost"), address(corev1.NodeInternalDNS, "*.example.com"),
		address(corev1.NodeInternalDNS, "N1.Example.Com"), address(corev1.NodeInternalDNS, nodeAddress1))
	register(t, asNode(t, server, "n2"), "n2",
		address(corev1.NodeInternalIP, nodeAddress2), address(corev1.NodeExternalDNS, "N2.example.com"))
	return server, n1
}

func TestServingRequests(t *testing.T) {
	server, n1 := startWithNodes(t)
	ip := func(c *csr, ips ...string) {
		for _, s := range ips {
			c.IPAddresses = append(c.IPAddresses, net.ParseIP(s))
		}
	}
	t.Run("all that is its own", func(t *testing.T) {
		request := servingCSR("n1")
		request.DNSNames = append(request.DNSNames, "n1.internal.example.com", "n1.example.com")
		ip(request, nodeAddress1, nodeIPv6)
		cert := wantSigned(t, server, request.create(t, n1), x509.ExtKeyUsageServerAuth)
		for _, host := range []string{"n1", "n1.example.com", nodeAddress1, nodeIPv6} {
			if err := cert.VerifyHostname(host); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("what another node has registered", func(t *testing.T) {
		request := servingCSR("n1")
		request.DNSNames = append(request.DNSNames, "n2", "n2.example.com")
		ip(request, nodeAddress2)
		wantSigned(t, server, request.create(t, n1), x509.ExtKeyUsageServerAuth)
	})
	const wrongService, wrongOwn = "is that of a Service", "kubectl label node n1 node-role.kubernetes.io/control-plane="
	for _, c := range []struct {
		name    string
		change  func(*csr)
		message string
	}{
		{"wrong group", func(c *csr) { c.Subject.Organization = []string{"admins"} }, "organization is not system:nodes"},
		{"one group more", func(c *csr) { c.Subject.Organization = append(c.Subject.Organization, "admins") }, "organization is not system:nodes"},
		{"usage of a client", func(c *csr) { c.Usages = append(c.Usages, certificatesv1.UsageClientAuth) }, "usages did not match"},
		{"e-mail", func(c *csr) { c.EmailAddresses = []string{"n1@example.com"} }, "Email subjectAltNames"},
		{"no names", func(c *csr) { c.DNSNames = nil }, "DNS or IP subjectAltName is required"},
		{"unregistered address", func(c *csr) { ip(c, "192.0.2.99") }, "192.0.2.99 is not a registered address of node n1"},
		{"unregistered name", func(c *csr) { c.DNSNames = []string{"n9"} }, `"n9" is neither the name of node n1`},
		{"address of the control plane", func(c *csr) { ip(c, ownAddress) }, wrongOwn},
		{"name of the control plane", func(c *csr) { c.DNSNames = []string{"kubembed.example.com"} }, wrongOwn},
		{"address of the kubernetes Service", func(c *csr) { ip(c, "10.0.0.1") }, "is that of the Service kubernetes"},
		{"short name of the kubernetes Service", func(c *csr) { c.DNSNames = []string{"kubernetes"} }, wrongService},
		{"name of the kubernetes Service", func(c *csr) { c.DNSNames = []string{"kubernetes.default.svc"} }, wrongService},
		{"full name of the kubernetes Service", func(c *csr) { c.DNSNames = []string{"kubernetes.default.svc.cluster.local"} }, wrongService},
		{"loopback", func(c *csr) { ip(c, "127.0.0.1") }, "loopback"},
		{"loopback of IPv6", func(c *csr) { ip(c, "::1") }, "loopback"},
		{"localhost", func(c *csr) { c.DNSNames = []string{"localhost"} }, "loopback"},
		{"metadata service", func(c *csr) { ip(c, "169.254.169.254") }, "metadata service"},
		{"wildcard", func(c *csr) { c.DNSNames = []string{"*.example.com"} }, "not a DNS name"},
		{"upper case", func(c *csr) { c.DNSNames = []string{"N1.Example.Com"} }, "not a DNS name"},
		{"address as a name", func(c *csr) { c.DNSNames = []string{nodeAddress1} }, "not a DNS name"},
		{"several problems", func(c *csr) { ip(c, "10.0.0.1", "192.0.2.99") },
			"10.0.0.1 is that of the Service kubernetes; IP address 192.0.2.99 is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := servingCSR("n1")
			c.change(request)
			wantDenied(t, admin(t, server), request.create(t, n1), "NodeServingRequestDenied", c.message)
		})
	}
}

// TestRequestsForAnotherNode are refused twice: before they are written, and
// where NodeRestriction is off, by the approver.
func TestRequestsForAnotherNode(t *testing.T) {
	server := start(t, controlplane.Config{})
	n1 := asNode(t, server, "n1")
	register(t, n1, "n1")
	for _, request := range []*csr{clientCSR("n2"), servingCSR("n2")} {
		_, err := request.tryCreate(t, n1)
		wantStatus(t, request.SignerName, err, 403)
	}
	server = start(t, controlplane.Config{DisableAdmissionPlugins: []string{"NodeRestriction"}})
	n1 = asNode(t, server, "n1")
	register(t, n1, "n1")
	const message = `"system:node:n2" is not that of the requester`
	wantDenied(t, admin(t, server), clientCSR("n2").create(t, n1), "NodeClientRequestDenied", message)
	wantDenied(t, admin(t, server), servingCSR("n2").create(t, n1), "NodeServingRequestDenied", message)
}

// TestServingRequestOnControlPlaneMachine: a node that an operator says is on the machine
// of the control plane may have its address and name, but never the names and addresses
// that pods use for the API server.
func TestServingRequestOnControlPlaneMachine(t *testing.T) {
	server, n1 := startWithNodes(t)
	label := []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`)
	patch := func(client kubernetes.Interface) error {
		_, err := client.CoreV1().Nodes().Patch(t.Context(), "n1", types.MergePatchType, label, metav1.PatchOptions{})
		return err
	}
	wantStatus(t, "a kubelet sets the label", patch(n1), 403)
	if err := patch(admin(t, server)); err != nil {
		t.Fatal(err)
	}
	request := servingCSR("n1")
	request.DNSNames = append(request.DNSNames, "kubembed.example.com")
	request.IPAddresses = []net.IP{net.ParseIP(ownAddress)}
	wantSigned(t, server, request.create(t, n1), x509.ExtKeyUsageServerAuth)

	for name, message := range map[string]string{
		"kubernetes":             "is that of a Service",
		"kubernetes.default.svc": "is that of a Service",
		"localhost":              "loopback",
	} {
		request := servingCSR("n1")
		request.DNSNames = []string{name}
		wantDenied(t, admin(t, server), request.create(t, n1), "NodeServingRequestDenied", message)
	}
	for ip, message := range map[string]string{
		"10.0.0.1":  "is that of the Service kubernetes",
		"127.0.0.1": "loopback",
	} {
		request := servingCSR("n1")
		request.IPAddresses = []net.IP{net.ParseIP(ip)}
		wantDenied(t, admin(t, server), request.create(t, n1), "NodeServingRequestDenied", message)
	}
}

// TestServingRequestsOnOneMachine: if only its machine can reach the control plane, nodes
// share the addresses of the machine.
func TestServingRequestsOnOneMachine(t *testing.T) {
	server := start(t, controlplane.Config{})
	for _, name := range []string{"n1", "n2"} {
		kubelet := asNode(t, server, name)
		register(t, kubelet, name, address(corev1.NodeHostName, name), address(corev1.NodeInternalIP, "127.0.0.1"), address(corev1.NodeInternalDNS, "kubernetes.default.svc"))
		request := servingCSR(name)
		request.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		wantSigned(t, server, request.create(t, kubelet), x509.ExtKeyUsageServerAuth)

		request.DNSNames = []string{"kubernetes.default.svc"}
		wantDenied(t, admin(t, server), request.create(t, kubelet), "NodeServingRequestDenied", "is that of a Service")
	}
}

// TestServingCertificateServes makes a TLS connection with a node's certificate.
func TestServingCertificateServes(t *testing.T) {
	server := start(t, controlplane.Config{})
	kubelet := asNode(t, server, "n1")
	register(t, kubelet, "n1", address(corev1.NodeInternalIP, "127.0.0.1"))
	request := servingCSR("n1")
	request.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	cert := wantSigned(t, server, request.create(t, kubelet), x509.ExtKeyUsageServerAuth)

	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: request.key}}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.KubeletServingCABundle())
	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestServingRequestBeforeNode: a kubelet requests its certificate while it registers. A
// pending request survives a restart.
func TestServingRequestBeforeNode(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir()}
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	name := servingCSR("n1").create(t, asNode(t, server, "n1"))
	closeServer(t, server)

	server = start(t, cfg)
	kubelet := asNode(t, server, "n1")
	register(t, kubelet, "n1")
	cert := wantSigned(t, server, name, x509.ExtKeyUsageServerAuth)
	if !slices.Equal(cert.DNSNames, []string{"n1"}) {
		t.Errorf("names: got %v, want [n1]", cert.DNSNames)
	}
	// The signing CA is the one on disk.
	block, _ := pem.Decode(server.KubeletServingCABundle())
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.CheckSignatureFrom(ca); err != nil {
		t.Error(err)
	}
}
