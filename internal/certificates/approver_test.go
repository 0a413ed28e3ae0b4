// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certificatesapi "k8s.io/kubernetes/pkg/apis/certificates"
)

// FuzzCertificateRequest: whatever a request holds, it is only accepted for the node that
// sends it, with its registered addresses, and a denial is short.
func FuzzCertificateRequest(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	subject := pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}
	for _, template := range []*x509.CertificateRequest{
		{Subject: subject},
		{Subject: subject, DNSNames: []string{"n1"}, IPAddresses: []net.IP{{192, 0, 2, 1}}},
		{Subject: subject, DNSNames: []string{"kubernetes.default.svc", "*.example", "localhost"}, IPAddresses: []net.IP{{127, 0, 0, 1}, {10, 0, 0, 1}, net.IPv6loopback}},
		{Subject: pkix.Name{CommonName: "system:node:n2", Organization: []string{"system:masters"}}, EmailAddresses: []string{"a@example"}},
		{},
	} {
		der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Add([]byte("no request"))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeHostName, Address: "n1"},
	}}}
	reserved := &reservedHosts{services: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	clientUsages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	servingUsages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	f.Fuzz(func(t *testing.T, der []byte) {
		parsed, err := certificatesapi.ParseCSR(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		if err != nil {
			return
		}
		request := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
			Username: "system:node:n1", Groups: []string{"system:nodes"}, Usages: clientUsages,
		}}
		accepted := decideRenewal(request, parsed).condition == ""
		if wanted := parsed.Subject.CommonName == "system:node:n1" && slices.Equal(parsed.Subject.Organization, []string{"system:nodes"}); accepted && !wanted {
			t.Errorf("accepted a client certificate for %s", parsed.Subject)
		}
		if accepted && len(parsed.DNSNames)+len(parsed.IPAddresses)+len(parsed.EmailAddresses)+len(parsed.URIs) > 0 {
			t.Errorf("accepted a client certificate with %v, %v", parsed.DNSNames, parsed.IPAddresses)
		}

		var problems []string
		if err := validKubeletServing(parsed, servingUsages); err != nil {
			problems = append(problems, err.Error())
		}
		problems = append(problems, otherCommonName(request, parsed)...)
		for _, dns := range parsed.DNSNames {
			if problem := reserved.checkName(dns, node); problem != "" {
				problems = append(problems, problem)
			} else if dns != "n1" {
				t.Errorf("accepted a serving certificate for %q", dns)
			}
		}
		for _, ip := range parsed.IPAddresses {
			if problem := reserved.checkIP(ip, node); problem != "" {
				problems = append(problems, problem)
			} else if !ip.Equal(net.IPv4(192, 0, 2, 1)) {
				t.Errorf("accepted a serving certificate for %s", ip)
			}
		}
		if message := denied("Reason", problems...).message; len(message) > maxProblems*1000 {
			t.Errorf("got a denial of %d bytes", len(message))
		}
	})
}

// TestDenialIsShort: a request has room for thousands of invalid names, and the condition
// is stored with them.
func TestDenialIsShort(t *testing.T) {
	var problems []string
	for i := range 5000 {
		problems = append(problems, fmt.Sprint("problem ", i))
	}
	v := denied("Reason", problems...)
	if v.condition != certificatesv1.CertificateDenied || !strings.Contains(v.message, "problem 9; and 4990 more") || len(v.message) > 1000 {
		t.Errorf("%+v", v)
	}
	if problems[maxProblems] != "problem 10" {
		t.Error("denied modified its argument")
	}
}
