// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// asks is a request of n1 for names or addresses.
func asks(node string, hosts ...string) *csr {
	request := servingCSR(node)
	request.DNSNames = nil
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			request.IPAddresses = append(request.IPAddresses, ip)
		} else {
			request.DNSNames = append(request.DNSNames, host)
		}
	}
	return request
}

// claim registers node with every host as an address of it.
func claim(t testing.TB, kubelet kubernetes.Interface, node string, hosts ...string) {
	t.Helper()
	var addresses []corev1.NodeAddress
	for _, host := range hosts {
		kind := corev1.NodeExternalDNS
		if net.ParseIP(host) != nil {
			kind = corev1.NodeExternalIP
		}
		addresses = append(addresses, address(kind, host))
	}
	register(t, kubelet, node, addresses...)
}

const (
	servingDenied = "NodeServingRequestDenied"
	isOwn         = "is the control plane's own"
)

// TestClaimsBlockNobody: a node that registers the addresses of others does not affect
// them.
func TestClaimsBlockNobody(t *testing.T) {
	server := startForOthers(t)
	good := asNode(t, server, "good")
	claim(t, good, "good", "198.51.100.10", "good.example.com")
	wantSigned(t, server, asks("good", "good", "198.51.100.10").create(t, good), x509.ExtKeyUsageServerAuth)

	var all []string
	for i := 1; i < 255; i++ {
		all = append(all, fmt.Sprintf("198.51.100.%d", i))
	}
	for i := range 50 {
		all = append(all, fmt.Sprintf("worker-%d", i))
	}
	claim(t, asNode(t, server, "evil"), "evil", append(all, "good", "good.example.com", "worker-7.example.com")...)
	// Nodes whose names are the addresses of others too.
	for _, name := range []string{"198.51.100.10", "good.example.com", "worker-7.example.com"} {
		claim(t, asNode(t, server, name), name)
	}
	testwait.Until(t, "what the server knows of nodes", func(context.Context) error {
		nodes, err := admin(t, server).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil || len(nodes.Items) != 5 {
			return unexpected(len(nodes.Items), " nodes: ", err)
		}
		return nil
	})
	wantSigned(t, server, asks("good", "good", "198.51.100.10", "good.example.com").create(t, good), x509.ExtKeyUsageServerAuth)
	worker := asNode(t, server, "worker-7")
	claim(t, worker, "worker-7", "198.51.100.77", "worker-7.example.com")
	wantSigned(t, server, asks("worker-7", "worker-7", "198.51.100.77", "worker-7.example.com").create(t, worker), x509.ExtKeyUsageServerAuth)
}

// No node gets a name that a Service may have in any cluster, an address in the ranges
// of Services, or a name of a webhook or its certificate.
func TestServingRequestsForTheControlPlane(t *testing.T) {
	server := startForOthers(t)
	if _, err := server.ServingCertificate("hooks.example.com", "203.0.113.9"); err != nil {
		t.Fatal(err)
	}
	client := admin(t, server)
	hook := func(host string) admissionregistrationv1.WebhookClientConfig {
		return admissionregistrationv1.WebhookClientConfig{URL: new("https://" + host + ":8443/x")}
	}
	none, ignore := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Ignore
	if _, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "validating"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "a.example.com", SideEffects: &none, FailurePolicy: &ignore,
			AdmissionReviewVersions: []string{"v1"}, ClientConfig: hook("validating.example.com")}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "mutating"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "a.example.com", SideEffects: &none, FailurePolicy: &ignore,
			AdmissionReviewVersions: []string{"v1"}, ClientConfig: hook("Mutating.example.com")}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	names := apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"}
	version := apiextensionsv1.CustomResourceDefinitionVersion{Name: "v1", Served: true, Storage: true,
		Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}}
	if _, err := apiextensionsclient.NewForConfigOrDie(server.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "example.com", Scope: apiextensionsv1.NamespaceScoped, Names: names,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version},
			Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
				ConversionReviewVersions: []string{"v1"}, ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: new("https://conversion.example.com/x")}}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.NetworkingV1().ServiceCIDRs().Create(t.Context(), &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	wrong := map[string]string{
		"hooks.example.com": isOwn, "203.0.113.9": isOwn, "kubembed.example.com": isOwn, ownAddress: isOwn,
		"validating.example.com": isOwn, "mutating.example.com": isOwn, "conversion.example.com": isOwn,
		"10.0.0.77": "the range of Services", "10.96.3.4": "the range of Services",
		"kubernetes.default.svc.other.domain": "is that of a Service", "x.y.svc": "is that of a Service",
		"pod.x.y.svc.example.com": "is that of a Service",
		"localhost":               "loopback", "x.localhost": "loopback",
	}
	var hosts []string
	for host := range wrong {
		hosts = append(hosts, host)
	}
	n1 := asNode(t, server, "n1")
	claim(t, n1, "n1", append(hosts, "n1.svc.example.com", "svc.example.com", "198.51.100.1", "10.0.1.1")...)
	for host, problem := range wrong {
		// The informer of CRDs may lag.
		if host == "conversion.example.com" {
			testwait.Until(t, "a denial", func(context.Context) error {
				request := waitForRequest(t, client, asks("n1", host).create(t, n1), decided)
				if condition(request, "Denied") == nil {
					return errors.New("approved")
				}
				return nil
			})
		}
		wantDenied(t, client, asks("n1", host).create(t, n1), servingDenied, problem)
	}
	wantSigned(t, server, asks("n1", "n1.svc.example.com", "svc.example.com", "198.51.100.1", "10.0.1.1").create(t, n1), x509.ExtKeyUsageServerAuth)
	// Not for the name of the node itself either.
	for _, name := range []string{"hooks.example.com", "kubembed.example.com", "a.b.svc.example.com"} {
		kubelet := asNode(t, server, name)
		register(t, kubelet, name)
		wantDenied(t, client, servingCSR(name).create(t, kubelet), servingDenied, "")
	}
}

// Behind a forwarder the control plane listens on loopback, and clients use its Hosts.
func TestServingRequestsForHostsOnLoopback(t *testing.T) {
	server := start(t, controlplane.Config{Hosts: []string{"API.example.com", "203.0.113.5"}})
	node := "api.example.com"
	kubelet := asNode(t, server, node)
	claim(t, kubelet, node, "203.0.113.5", "127.0.0.1", "localhost", "203.0.113.6")
	for _, host := range []string{node, "203.0.113.5", "localhost"} {
		wantDenied(t, admin(t, server), asks(node, host).create(t, kubelet), servingDenied, isOwn)
	}
	wantSigned(t, server, asks(node, "127.0.0.1", "203.0.113.6").create(t, kubelet), x509.ExtKeyUsageServerAuth)
	label := []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`)
	if _, err := admin(t, server).CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	wantSigned(t, server, asks(node, node, "203.0.113.5", "127.0.0.1").create(t, kubelet), x509.ExtKeyUsageServerAuth)

	// A node on the machine has its name.
	if machine, err := os.Hostname(); err == nil {
		kubelet := asNode(t, server, machine)
		register(t, kubelet, machine)
		wantSigned(t, server, servingCSR(machine).create(t, kubelet), x509.ExtKeyUsageServerAuth)
	}
}

// The approving server knows the names of the others.
func TestServingRequestsForAnotherServer(t *testing.T) {
	t.Parallel()
	servers := share(t, etcdtest.Start(t), 2, func(i int, c *controlplane.Config) {
		c.BindAddress, c.AdvertiseAddress = "0.0.0.0:0", fmt.Sprintf("192.0.2.%d", 21+i)
		c.Hosts = []string{fmt.Sprintf("server-%d.example.com", i), fmt.Sprintf("203.0.113.%d", 21+i)}
	})
	for i, server := range servers {
		if _, err := server.ServingCertificate(fmt.Sprintf("hooks-%d.example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	kubelet := asNode(t, servers[0], "n1")
	var hosts []string
	for i := range servers {
		hosts = append(hosts, fmt.Sprintf("server-%d.example.com", i), fmt.Sprintf("hooks-%d.example.com", i),
			fmt.Sprintf("192.0.2.%d", 21+i), fmt.Sprintf("203.0.113.%d", 21+i))
	}
	claim(t, kubelet, "n1", hosts...)
	for _, host := range hosts {
		wantDenied(t, admin(t, servers[0]), asks("n1", host).create(t, kubelet), servingDenied, isOwn)
	}
}
