// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// openPlane starts an API server that other machines can connect to.
func openPlane(t testing.TB) (*plane, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	listener := must(net.Listen("tcp", "0.0.0.0:0"))(t)
	return startPlane(t, func(c *apiserver.Config) {
		_ = c.Listener.Close()
		c.Listener, c.Logger = listener, zap.New(core)
	}), logs
}

// warned reports whether the log has a warning with all of texts.
func warned(logs *observer.ObservedLogs, texts ...string) bool {
	for _, entry := range logs.All() {
		line := fmt.Sprint(entry.Message, " ", entry.ContextMap())
		found := true
		for _, text := range texts {
			found = found && strings.Contains(line, text)
		}
		if found {
			return true
		}
	}
	return false
}

// TestNodeAddressRefused verifies that a node cannot register an address at which the
// server would call itself or a service that trusts this machine.
func TestNodeAddressRefused(t *testing.T) {
	p, logs := openPlane(t)
	ns := p.namespace(t)
	kubelet := startKubelet(t, serving(t, p.pki.KubeletServingCA(), "refused", "127.0.0.1"), func(http.ResponseWriter, *http.Request) {
		t.Error("the kubelet was called, want a refusal")
	})
	for i, test := range []struct{ address, problem string }{
		{"127.0.0.1", "127.0.0.1 is a loopback address"},
		{"localhost", "is a loopback address"},
		{"::ffff:127.0.0.1", "127.0.0.1 is a loopback address"},
		{"169.254.169.254", "169.254.169.254 is the metadata service of a cloud"},
		{"fd00:ec2::254", "fd00:ec2::254 is the metadata service of a cloud"},
		{"0.0.0.0", "0.0.0.0 is not the address of a machine"},
	} {
		t.Run(test.address, func(t *testing.T) {
			node := fmt.Sprintf("refused-%d", i)
			p.worker(t, ns, node, kubelet.port(t), internalIP(test.address))
			_, err := p.logs(t, ns, node, corev1.PodLogOptions{})
			want := "the address " + test.address + " that node " + node + " has registered is refused: "
			if !contains(err, want) || !contains(err, test.problem) {
				t.Errorf("log: %v", err)
			}
			if _, err := p.logs(t, ns, node, corev1.PodLogOptions{InsecureSkipTLSVerifyBackend: true}); !contains(err, want) {
				t.Errorf("log without verification: %v", err)
			}
			for _, subresource := range []string{"exec", "attach"} {
				for name, executor := range p.executors(t, ns, node, subresource) {
					err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard})
					if !contains(err, want) {
						t.Errorf("%s, %s: %v", subresource, name, err)
					}
				}
			}
			for _, port := range []string{"", ":80", fmt.Sprintf(":%d", kubelet.port(t))} {
				answer := p.get(t, "/api/v1/nodes/"+node+port+"/proxy/").want(t, http.StatusServiceUnavailable)
				if !strings.Contains(answer.body, want) {
					t.Errorf("proxy to port %q: %s", port, answer.body)
				}
			}
			if !warned(logs, node, test.problem) {
				t.Errorf("got log %v, want the refusal", logs.All())
			}
			testwait.Until(t, "an event of the node", func(context.Context) error {
				events, err := p.admin().CoreV1().Events("").List(t.Context(), metav1.ListOptions{
					FieldSelector: "reason=KubeletAddressRefused,type=Warning,involvedObject.kind=Node,involvedObject.name=" + node})
				if err != nil {
					return err
				}
				if len(events.Items) != 1 || !strings.Contains(events.Items[0].Message, test.problem) {
					return fmt.Errorf("events: %v", events.Items)
				}
				return nil
			})
		})
	}
}

// TestLocalNode verifies that an API server that only this machine can connect to calls
// kubelets on this machine, and no further addresses.
func TestLocalNode(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	kubelet := echoKubelet(t, serving(t, p.pki.KubeletServingCA(), "local", "127.0.0.1"))
	p.worker(t, ns, "local", kubelet.port(t), internalIP("127.0.0.1"))
	p.get(t, "/api/v1/nodes/local/proxy/metrics").want(t, http.StatusOK)

	p.worker(t, ns, "local-metadata", kubelet.port(t), internalIP("169.254.169.254"))
	p.get(t, "/api/v1/nodes/local-metadata/proxy/metrics").want(t, http.StatusServiceUnavailable)

	other := must(url.Parse(p.URL()))(t).Port()
	for _, id := range []string{"local:" + other, "https:local:" + other} {
		if answer := p.get(t, "/api/v1/nodes/"+id+"/proxy/version").want(t, http.StatusBadRequest); !strings.Contains(answer.body, "address not allowed") {
			t.Errorf("%s: %s", id, answer.body)
		}
	}
}

// TestProxyAddressRefused verifies that the status of a pod and the endpoints of a
// Service do not make the server connect to addresses of this machine or its link.
func TestProxyAddressRefused(t *testing.T) {
	p, logs := openPlane(t)
	ns := p.namespace(t)
	for i, test := range []struct {
		ip, problem string
		status      int
	}{
		// Upstream refuses these without a reason.
		{"127.0.0.1", "address not allowed", http.StatusBadRequest},
		{"169.254.169.254", "address not allowed", http.StatusBadRequest},
		{"fe80::1", "address not allowed", http.StatusBadRequest},
		// Upstream does not refuse these.
		{"100.100.100.200", "100.100.100.200 is the metadata service of a cloud", http.StatusServiceUnavailable},
		{"fd00:ec2::254", "fd00:ec2::254 is the metadata service of a cloud", http.StatusServiceUnavailable},
	} {
		t.Run(test.ip, func(t *testing.T) {
			name := fmt.Sprintf("proxied-%d", i)
			pods := p.admin().CoreV1().Pods(ns)
			created := must(pods.Create(t.Context(), pod(name), metav1.CreateOptions{}))(t)
			created.Status.PodIP, created.Status.PodIPs = test.ip, []corev1.PodIP{{IP: test.ip}}
			must(pods.UpdateStatus(t.Context(), created, metav1.UpdateOptions{}))(t)
			for _, prefix := range []string{"", "https:"} {
				answer := p.get(t, "/api/v1/namespaces/"+ns+"/pods/"+prefix+name+":80/proxy/").want(t, test.status)
				if !strings.Contains(answer.body, test.problem) {
					t.Errorf("pod: %s", answer.body)
				}
			}

			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
			must(p.admin().CoreV1().Services(ns).Create(t.Context(), service, metav1.CreateOptions{}))(t)
			if strings.Contains(test.ip, ":") {
				return // not of the IP family of ServiceCIDR: not an endpoint of the Service
			}
			_, err := p.admin().DiscoveryV1().EndpointSlices(ns).Create(t.Context(), &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
				AddressType: discoveryv1.AddressTypeIPv4,
				Endpoints: []discoveryv1.Endpoint{{
					Addresses: []string{test.ip},
					TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: ns, Name: name},
				}},
				Ports: []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(80))}},
			}, metav1.CreateOptions{})
			if test.status == http.StatusBadRequest && err != nil {
				return // validation refuses these, too
			}
			if err != nil {
				t.Fatal(err)
			}
			testwait.Until(t, "the error about the endpoint", func(context.Context) error {
				answer := p.get(t, "/api/v1/namespaces/"+ns+"/services/"+name+":80/proxy/").want(t, http.StatusServiceUnavailable)
				if !strings.Contains(answer.body, test.problem) {
					return errors.New(answer.body)
				}
				return nil
			})
			if !warned(logs, test.ip, test.problem) {
				t.Errorf("got log %v, want the refusal", logs.All())
			}
		})
	}
}
