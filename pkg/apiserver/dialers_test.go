// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/retry"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// tunnel is a dialer of the host's to servers on loopback, by the addresses that the
// control plane knows.
type tunnel struct {
	mu    sync.Mutex
	to    map[string]net.Addr
	fails func(ctx context.Context) error // if not nil, instead of a connection
	asked map[string]bool
	open  []net.Conn
}

func (d *tunnel) add(address string, to net.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.to == nil {
		d.to, d.asked = map[string]net.Addr{}, map[string]bool{}
	}
	d.to[address] = to
}

func (d *tunnel) fail(f func(context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = f
}

func (d *tunnel) was(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[address]
}

// made returns the connections so far.
func (d *tunnel) made() []net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.open)
}

func (d *tunnel) dial(ctx context.Context, _, address string) (net.Conn, error) {
	d.mu.Lock()
	to, fails := d.to[address], d.fails
	d.mu.Unlock()
	switch {
	case fails != nil:
		return nil, fails(ctx)
	case to == nil:
		return nil, fmt.Errorf("nothing is at %s", address)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[address] = true
	if err == nil {
		d.open = append(d.open, conn)
	}
	return conn, err
}

// TestDialerOfNodes: kubelets, pods and Services are reached through the host's dialer.
// The certificate of the kubelet is still verified, and addresses are still refused.
func TestDialerOfNodes(t *testing.T) {
	var nodes tunnel
	p := startPlane(t, func(c *apiserver.Config) { c.Dialers.Nodes = nodes.dial })
	ns := p.namespace(t)
	ctx := t.Context()
	kubelet := echoKubelet(t, serving(t, p.pki.KubeletServingCA(), "far", "192.0.2.20"))
	nodes.add("192.0.2.20:10250", kubelet.Listener.Addr())
	p.worker(t, ns, "far", 10250, internalIP("192.0.2.20"))
	if got := must(p.logs(t, ns, "far", corev1.PodLogOptions{}))(t); got != "/containerLogs/"+ns+"/far/main" {
		t.Errorf("log: got %q", got)
	}
	for name, executor := range p.executors(t, ns, "far", "exec") {
		if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard}); !contains(err, "/exec/"+ns+"/far/main") {
			t.Errorf("exec, %s: got %v, want the kubelet's answer", name, err)
		}
	}

	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "pod "+r.URL.Path) }))
	t.Cleanup(backend.Close)
	nodes.add("198.51.100.5:8080", backend.Listener.Addr())
	pod := must(p.admin().CoreV1().Pods(ns).Get(ctx, "far", metav1.GetOptions{}))(t)
	pod.Status.Phase, pod.Status.PodIPs = corev1.PodRunning, []corev1.PodIP{{IP: "198.51.100.5"}}
	pod.Status.PodIP = "198.51.100.5"
	must(p.admin().CoreV1().Pods(ns).UpdateStatus(ctx, pod, metav1.UpdateOptions{}))(t)
	if got := p.get(t, "/api/v1/namespaces/"+ns+"/pods/far:8080/proxy/path").want(t, http.StatusOK).body; got != "pod /path" {
		t.Errorf("proxy of a pod: got %q", got)
	}
	must(p.admin().CoreV1().Services(ns).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{}))(t)
	must(p.admin().DiscoveryV1().EndpointSlices(ns).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "api", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"198.51.100.5"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: ns, Name: "far"},
		}},
		Ports: []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(8080))}},
	}, metav1.CreateOptions{}))(t)
	testwait.Until(t, "the proxy of a Service", func(context.Context) error {
		if a := p.get(t, "/api/v1/namespaces/"+ns+"/services/api/proxy/path"); a.body != "pod /path" {
			return fmt.Errorf("HTTP %d %s", a.status, a.body)
		}
		return nil
	})

	// Another node has the address: the certificate is the first one's.
	p.worker(t, ns, "other", 10250, internalIP("192.0.2.20"))
	if _, err := p.logs(t, ns, "other", corev1.PodLogOptions{}); !contains(err, "system:node:other") {
		t.Errorf("log from another node's kubelet: got %v, want a TLS error", err)
	}
	nodes.add("169.254.169.254:10250", kubelet.Listener.Addr())
	p.worker(t, ns, "metadata", 10250, internalIP("169.254.169.254"))
	if _, err := p.logs(t, ns, "metadata", corev1.PodLogOptions{}); !contains(err, "metadata service") || nodes.was("169.254.169.254:10250") {
		t.Errorf("log from a cloud's metadata service: got %v, want a refusal before the dialer is called", err)
	}
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, conn := range nodes.made() {
		if _, err := conn.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a connection after the stop: got %v, want closed", err)
		}
	}
}

// TestDialerOfWebhooks: webhooks with a URL and with a Service are reached through the
// host's dialer. A dialer that fails is named in the answer.
func TestDialerOfWebhooks(t *testing.T) {
	var webhooks tunnel
	p := startPlane(t, func(c *apiserver.Config) { c.Dialers.ControlPlane = webhooks.dial })
	refusing := func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "seen"}}
	}
	byURL, byService := p.namespace(t), p.namespace(t)
	c := webhook(t, refusing)
	webhooks.add("example.com:443", addressOf(t, *c.URL))
	url, port := "https://example.com/review", int32(443)
	c.URL = &url
	p.validatingWebhook(t, byURL, c, admissionregistrationv1.Fail)

	c = webhook(t, refusing)
	p.service(t, byService, &net.TCPAddr{IP: net.ParseIP("198.51.100.6"), Port: 8443})
	webhooks.add("198.51.100.6:8443", addressOf(t, *c.URL))
	c.URL, c.Service = nil, &admissionregistrationv1.ServiceReference{Namespace: byService, Name: "api", Port: &port}
	p.validatingWebhook(t, byService, c, admissionregistrationv1.Fail)

	want := func(ns, text string) {
		t.Helper()
		testwait.Until(t, text, func(context.Context) error {
			_, err := p.createPod(t, ns, pod("any"), dryRun)
			if !contains(err, text) {
				return fmt.Errorf("got %w, want %q", errors.Join(err), text)
			}
			return nil
		})
	}
	want(byURL, "seen")
	// Its certificate is of example.com.
	want(byService, "not "+"api."+byService+".svc")
	if !webhooks.was("198.51.100.6:8443") {
		t.Error("the webhook with a Service is not reached through the dialer")
	}

	for _, conn := range webhooks.made() {
		_ = conn.Close()
	}
	webhooks.fail(func(context.Context) error { return errors.New("no tunnel") })
	want(byURL, "Config.Dialers.ControlPlane: no tunnel")
	webhooks.fail(func(context.Context) error { panic("a broken tunnel") })
	want(byURL, "Config.Dialers.ControlPlane: the dialer panicked: a broken tunnel")
	// A dialer that ignores its context is bounded by the timeout of the webhook.
	forever := make(chan struct{})
	defer close(forever)
	webhooks.fail(func(context.Context) error { <-forever; return errors.New("late") })
	configurations := p.admin().AdmissionregistrationV1().ValidatingWebhookConfigurations()
	configuration := must(configurations.Get(t.Context(), byURL, metav1.GetOptions{}))(t)
	second := int32(1)
	configuration.Webhooks[0].TimeoutSeconds = &second
	must(configurations.Update(t.Context(), configuration, metav1.UpdateOptions{}))(t)
	want(byURL, "Config.Dialers.ControlPlane: no connection to example.com:443")
}

// TestDialerOfConversionWebhooks: webhooks of CRDs are reached through the host's dialer.
func TestDialerOfConversionWebhooks(t *testing.T) {
	const group = "converted.example.com"
	var webhooks tunnel
	p := startPlane(t, func(c *apiserver.Config) { c.Dialers.ControlPlane = webhooks.dial })
	ns := p.namespace(t)
	server := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "seen", http.StatusTeapot) })
	webhooks.add("example.com:443", server.Listener.Addr())
	must(p.widgets(t, group).Namespace(ns).Create(t.Context(), widget(group, "one", 1), metav1.CreateOptions{}))(t)
	crds := apiextensionsclient.NewForConfigOrDie(p.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions()
	conversion := must(json.Marshal(map[string]any{"spec": map[string]any{"conversion": apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{ConversionReviewVersions: []string{"v1"}, ClientConfig: &apiextensionsv1.WebhookClientConfig{
			URL:      new("https://example.com/convert"),
			CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		}},
	}}}))(t)
	must(crds.Patch(t.Context(), "widgets."+group, types.MergePatchType, conversion, metav1.PatchOptions{}))(t)
	want := func(text string) {
		t.Helper()
		testwait.Until(t, text, func(context.Context) error {
			if a := p.get(t, "/apis/"+group+"/v1beta1/namespaces/"+ns+"/widgets/one"); !strings.Contains(a.body, text) {
				return fmt.Errorf("HTTP %d %s", a.status, a.body)
			}
			return nil
		})
	}
	want("status code 418")
	for _, conn := range webhooks.made() {
		_ = conn.Close()
	}
	webhooks.fail(func(context.Context) error { return errors.New("no tunnel") })
	want("Config.Dialers.ControlPlane: no tunnel")
}

// addressOf returns the address of a server by its URL.
func addressOf(t testing.TB, at string) net.Addr {
	t.Helper()
	host, _, _ := strings.Cut(strings.TrimPrefix(at, "https://"), "/")
	return must(net.ResolveTCPAddr("tcp", host))(t)
}

// TestDialerOfAggregatedServers: the host's dialer is asked for the endpoint.
func TestDialerOfAggregatedServers(t *testing.T) {
	const group = "far.example.com"
	var servers tunnel
	p := startPlane(t, func(c *apiserver.Config) { c.Dialers.AggregatedServers = servers.dial })
	ns := p.namespace(t)
	server, _ := p.aggregated(t, group)
	servers.add("198.51.100.7:443", server.Listener.Addr())
	p.service(t, ns, &net.TCPAddr{IP: net.ParseIP("198.51.100.7"), Port: 443})
	p.register(t, group, ns, func(s *apiregistrationv1.APIServiceSpec) {
		s.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.pki.CA().Cert.Raw})
	})
	// The certificate is not of that CA: it is verified through the tunnel too.
	p.wantAvailable(t, group, apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck")
	if !servers.was("198.51.100.7:443") {
		t.Error("the server is not reached through the dialer")
	}
	services := aggregatorclient.NewForConfigOrDie(p.ClientConfig()).ApiregistrationV1().APIServices()
	if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		registered, err := services.Get(t.Context(), "v1."+group, metav1.GetOptions{})
		if err != nil {
			return err
		}
		registered.Spec.CABundle, registered.Spec.InsecureSkipTLSVerify = nil, true
		_, err = services.Update(t.Context(), registered, metav1.UpdateOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	p.wantAvailable(t, group, apiregistrationv1.ConditionTrue, "Passed")
	testwait.Until(t, "a proxied request", func(context.Context) error {
		if a := p.get(t, "/apis/"+group+"/v1/gadgets/one"); a.status != http.StatusOK || !strings.Contains(a.body, `"Gadget"`) {
			return fmt.Errorf("HTTP %d %.100s", a.status, a.body)
		}
		return nil
	})
}
