// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// clientsOfServers are tests in which the API server is a client, over TLS: of kubelets,
// webhooks and aggregated API servers.
const clientsOfServers = "^(TestClientsOverTLS|TestClientCertificate|TestKubeletSeesClientCertificate|TestKubeletExec|TestValidatingWebhook|TestAggregatedServer)$"

// TestWithoutHTTP2 runs tests in processes in which the operator has switched HTTP/2 off,
// as mitigations do. kube-apiserver works there.
func TestWithoutHTTP2(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"http2server=0", "http2client=0"} {
		t.Run(setting, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self, "-test.run="+clientsOfServers, "-test.v")
			cmd.Env = append(os.Environ(), "GODEBUG="+setting)
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Count(string(out), "\n--- PASS: ") < strings.Count(clientsOfServers, "Test") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestClientsOverTLS has client-go list and watch over the network.
func TestClientsOverTLS(t *testing.T) {
	listsOverTLS(t, sharedPlane(t))
}

func listsOverTLS(t *testing.T, p *plane) {
	t.Helper()
	client := clientset(t, p.as(t, "admin", "system:masters"))
	if _, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	watch, err := client.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if event, ok := <-watch.ResultChan(); !ok {
		t.Errorf("the watch ends: %+v", event)
	}
}

// TestHTTP2IsOffered: by default the clients share one connection.
func TestHTTP2IsOffered(t *testing.T) {
	p := sharedPlane(t)
	config := p.as(t, "admin", "system:masters")
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Get(p.URL() + "/version")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Errorf("served with %s", response.Proto)
	}
}

// TestHTTP2SettingThatChanges: a host sets GODEBUG while servers run, and unsets it
// later. A server keeps the protocols that it offers at its start.
func TestHTTP2SettingThatChanges(t *testing.T) {
	first := startPlane(t)
	listsOverTLS(t, first)
	t.Setenv("GODEBUG", "http2server=0")
	// A new connection, for which no protocol is negotiated yet.
	fresh := func(p *plane) *kubernetes.Clientset {
		config := p.as(t, "another", "system:masters")
		config.Proxy = http.ProxyFromEnvironment // a separate transport
		return clientset(t, config)
	}
	if _, err := fresh(first).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("a server from before: %v", err)
	}
	second := startPlane(t, func(c *apiserver.Config) { c.Prefix = "/second" })
	listsOverTLS(t, second)
	t.Setenv("GODEBUG", "")
	if _, err := fresh(second).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("a server that was started without HTTP/2: %v", err)
	}
}
