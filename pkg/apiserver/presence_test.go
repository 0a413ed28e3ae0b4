// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

var (
	errTooMany = fmt.Errorf("too many connections")
	errTooFew  = fmt.Errorf("too few connections")
)

func portOf(t testing.TB, p *plane) int32 {
	t.Helper()
	return int32(must(strconv.Atoi(must(url.Parse(p.URL()))(t).Port()))(t))
}

// refusesNode fails the test unless all requests to the kubelet of a node fail with
// problem.
func refusesNode(t *testing.T, p *plane, name string, port int32, address corev1.NodeAddress, problem string) {
	t.Helper()
	ns := p.namespace(t)
	p.worker(t, ns, name, port, address)
	answers := map[string]string{}
	for _, path := range []string{"/proxy/version", ":" + strconv.Itoa(int(port)) + "/proxy/version"} {
		answer := p.get(t, "/api/v1/nodes/"+name+path)
		answers[path] = answer.body
		if answer.status < 400 {
			answers[path] = "the kubelet was called"
		}
	}
	for _, skip := range []bool{false, true} {
		_, err := p.logs(t, ns, name, corev1.PodLogOptions{InsecureSkipTLSVerifyBackend: skip})
		answers[fmt.Sprint("log ", skip)] = fmt.Sprint(err)
	}
	for _, subresource := range []string{"exec", "attach"} {
		for protocol, executor := range p.executors(t, ns, name, subresource) {
			err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard})
			answers[subresource+" "+protocol] = fmt.Sprint(err)
		}
	}
	answers["portforward"] = fmt.Sprint(p.portForward(t, ns, name))
	for way, answer := range answers {
		if !strings.Contains(answer, problem) {
			t.Errorf("node %s, %s: got %q, want an error with %q", name, way, answer, problem)
		}
	}
}

// TestOwnEndpointsAreNoKubelets: through a node that registers an endpoint of the control
// plane, clients with access to its proxy would act as kube-apiserver-kubelet-client.
func TestOwnEndpointsAreNoKubelets(t *testing.T) {
	private := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer private.Close()
	insecureListener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	p := startPlane(t, func(c *apiserver.Config) {
		c.KubeletInsecureTLS = true
		c.InsecureListener = insecureListener
		c.PrivateEndpoints = []netip.AddrPort{private.Addr().(*net.TCPAddr).AddrPort()}
	})
	const problem = "is an endpoint of the control plane"
	own := portOf(t, p)
	refusesNode(t, p, "self", own, internalIP("127.0.0.1"), problem)
	refusesNode(t, p, "self-mapped", own, internalIP("::ffff:127.0.0.1"), problem)
	refusesNode(t, p, "self-name", own, corev1.NodeAddress{Type: corev1.NodeHostName, Address: "localhost"}, problem)
	refusesNode(t, p, "self-insecure", int32(insecureListener.Addr().(*net.TCPAddr).Port), internalIP("127.0.0.1"), problem)
	refusesNode(t, p, "self-private", int32(private.Addr().(*net.TCPAddr).Port), internalIP("127.0.0.1"), problem)

	// A kubelet may listen on another port of the machine.
	kubelet := echoKubelet(t, serving(t, nil, "beside", "127.0.0.1"))
	p.worker(t, p.namespace(t), "beside", kubelet.port(t), internalIP("127.0.0.1"))
	p.get(t, "/api/v1/nodes/beside/proxy/pods").want(t, http.StatusOK)
}

// TestEveryOwnAddressIsNoKubelet: a server that listens on the unspecified address has
// all addresses of its machine, its advertised address, and its reserved ones.
func TestEveryOwnAddressIsNoKubelet(t *testing.T) {
	p, _ := openPlane(t)
	if addresses := machineAddresses(t); len(addresses) > 0 {
		for i, ip := range addresses[:min(2, len(addresses))] {
			refusesNode(t, p, fmt.Sprintf("every-%d", i), portOf(t, p), internalIP(ip), "is an endpoint of the control plane")
		}
	}
	advertised := startPlane(t, func(c *apiserver.Config) {
		c.AdvertiseAddress = net.ParseIP("192.0.2.7")
		c.Reserved = []string{"192.0.2.8", "api.example.com"}
	})
	for i, ip := range []string{"192.0.2.7", "192.0.2.8"} {
		refusesNode(t, advertised, fmt.Sprintf("advertised-%d", i), portOf(t, advertised), internalIP(ip), "is an endpoint of the control plane")
	}
}

func machineAddresses(t testing.TB) (ips []string) {
	t.Helper()
	for _, addr := range must(net.InterfaceAddrs())(t) {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
			ips = append(ips, prefix.Addr().String())
		}
	}
	return ips
}

// TestProxyToPrivateEndpointsIsRefused: clients with access to a proxy do not reach
// endpoints that trust every client.
func TestProxyToPrivateEndpointsIsRefused(t *testing.T) {
	addresses := machineAddresses(t)
	if len(addresses) == 0 {
		t.Skip("this machine has no address but loopback")
	}
	insecureListener := must(net.Listen("tcp", net.JoinHostPort(addresses[0], "0")))(t)
	port := insecureListener.Addr().(*net.TCPAddr).Port
	p := startPlane(t, func(c *apiserver.Config) { c.InsecureListener = insecureListener })
	ns := p.namespace(t)
	p.worker(t, ns, "private", 10250, internalIP(addresses[0]))
	const problem = "is an endpoint of the control plane"
	if answer := p.get(t, fmt.Sprintf("/api/v1/nodes/http:private:%d/proxy/api/v1/secrets", port)); answer.status < 500 || !strings.Contains(answer.body, problem) {
		t.Errorf("proxy of a node: got HTTP %d %s, want an error with %q", answer.status, answer.body, problem)
	}
	pods := p.admin().CoreV1().Pods(ns)
	created := must(pods.Get(t.Context(), "private", metav1.GetOptions{}))(t)
	created.Status.PodIP, created.Status.PodIPs = addresses[0], []corev1.PodIP{{IP: addresses[0]}}
	must(pods.UpdateStatus(t.Context(), created, metav1.UpdateOptions{}))(t)
	if answer := p.get(t, fmt.Sprintf("/api/v1/namespaces/%s/pods/private:%d/proxy/api/v1/secrets", ns, port)); answer.status < 500 || !strings.Contains(answer.body, problem) {
		t.Errorf("proxy of a pod: got HTTP %d %s, want an error with %q", answer.status, answer.body, problem)
	}
}

// forward accepts connections and forwards them to address, like a load balancer that the
// API server does not know. It returns its port.
func forward(t testing.TB, address string) int32 {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	return int32(listener.Addr().(*net.TCPAddr).Port)
}

// TestOwnEndpointBehindAnAddressTranslation: a server does not call itself or another
// server at an address that neither knows, and would refuse its own kubelet client.
func TestOwnEndpointBehindAnAddressTranslation(t *testing.T) {
	e := startRemoteEtcd(t)
	planes := e.servers(t, 2, func(_ int, c *apiserver.Config) {
		c.KubeletInsecureTLS, c.Controllers = true, false
	})
	for i, p := range planes {
		for j, other := range planes {
			at := must(url.Parse(other.URL()))(t).Host
			// The port is unknown, but the certificate is that of an API server.
			refusesNode(t, p, fmt.Sprintf("forward-%d-%d", i, j), forward(t, at), internalIP("127.0.0.1"), "is an API server, not a kubelet")
			// The endpoints of other servers are known.
			testwait.Until(t, "the record of the other server", func(context.Context) error {
				_, addrs, err := p.Reserved(t.Context())
				if err == nil && len(addrs) == 0 {
					err = errTooFew
				}
				return err
			})
			refusesNode(t, p, fmt.Sprintf("direct-%d-%d", i, j), portOf(t, other), internalIP("127.0.0.1"), "is an endpoint of the control plane")
		}
	}
}

// TestKubeletClientAtServer: servers refuse the identity by which servers call kubelets.
func TestKubeletClientAtServer(t *testing.T) {
	p := sharedPlane(t)
	client := p.httpClient(t, p.pki.KubeletClient())
	for _, path := range []string{"/api/v1/nodes", "/api/v1/nodes/n1/proxy/pods", "/apis", "/api/v1/namespaces/default/secrets"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			p.call(t, client, method, path, "").want(t, http.StatusUnauthorized)
		}
	}
	if _, err := whoAmI(t, p.with(p.pki.KubeletClient())); err != nil {
		t.Errorf("SelfSubjectReview: %v", err)
	}
	// An administrator may impersonate it, to see its permissions.
	config := rest.CopyConfig(p.ClientConfig())
	config.Impersonate = rest.ImpersonationConfig{UserName: kubeletClient}
	if _, err := clientset(t, config).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// TestReserved: servers know the names of the other servers at once, and the hosts of
// webhooks.
func TestReserved(t *testing.T) {
	e := startRemoteEtcd(t)
	planes := e.servers(t, 2, advertised, func(i int, c *apiserver.Config) {
		c.PKI = must(pki.Open(pki.Config{Hosts: []string{fmt.Sprintf("server-%d.example.com", i)}, Import: must(e.pki.Export())(t)}))(t)
		c.Reserved = []string{fmt.Sprintf("Reserved-%d.Example.COM.", i), fmt.Sprintf("198.51.100.%d", i+1)}
	})
	if err := planes[0].Reserve(t.Context(), "hooks.example.com", "203.0.113.9"); err != nil {
		t.Fatal(err)
	}
	hook := admissionregistrationv1.ValidatingWebhook{
		Name: "one.example.com", SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		FailurePolicy: ptr.To(admissionregistrationv1.Ignore),
		ClientConfig:  admissionregistrationv1.WebhookClientConfig{URL: new("https://validating.example.com:8443/x")},
	}
	must(planes[0].admin().AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "validating"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{hook}}, metav1.CreateOptions{}))(t)
	for i, p := range planes {
		names, addrs, err := p.Reserved(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"server-0.example.com", "server-1.example.com", "reserved-0.example.com", "reserved-1.example.com", "hooks.example.com", "validating.example.com"} {
			if !slices.Contains(names, name) {
				t.Errorf("names of server %d: got %q, want %s among them", i, names, name)
			}
		}
		for _, addr := range []string{"192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2", "203.0.113.9"} {
			if !slices.Contains(addrs, netip.MustParseAddr(addr)) {
				t.Errorf("addresses of server %d: got %v, want %s among them", i, addrs, addr)
			}
		}
	}
}
