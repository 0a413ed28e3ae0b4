// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/kubembed/kubembed/internal/testwait"
)

// A node keeps a certificate for its former address, and the connections from the server.
// It must not get requests for the node that has the address now.
func TestKubeletOfFormerAddress(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	evil := echoKubelet(t, serving(t, p.pki.KubeletServingCA(), "former", "127.0.0.1"))
	p.worker(t, ns, "former", evil.port(t), internalIP("127.0.0.1"))
	p.get(t, "/api/v1/nodes/former/proxy/pods").want(t, http.StatusOK)
	before := len(evil.seen())

	p.worker(t, ns, "present", evil.port(t), internalIP("127.0.0.1"))
	const problem = "CN=system:node:present,O=system:nodes"
	if _, err := p.logs(t, ns, "present", corev1.PodLogOptions{}); !contains(err, problem) {
		t.Errorf("log: %v", err)
	}
	if answer := p.get(t, "/api/v1/nodes/present/proxy/run/x"); !strings.Contains(answer.body, problem) {
		t.Errorf("proxy: %d %s", answer.status, answer.body)
	}
	for _, subresource := range []string{"exec", "attach"} {
		for name, executor := range p.executors(t, ns, "present", subresource) {
			if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("secret"), Stdout: io.Discard}); !contains(err, problem) {
				t.Errorf("%s, %s: %v", subresource, name, err)
			}
		}
	}
	if err := p.portForward(t, ns, "present"); !contains(err, problem) {
		t.Errorf("portforward: %v", err)
	}
	if got := len(evil.seen()); got != before {
		t.Errorf("the other node has seen %d requests", got-before)
	}
}

// Connections are reused, but not for a node that was deleted and created again, and not
// for another address.
func TestKubeletConnections(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	var mu sync.Mutex
	from := map[string]bool{}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(from)
	}
	kubelet := startKubelet(t, serving(t, p.pki.KubeletServingCA(), "reused", "127.0.0.1"), func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from[r.RemoteAddr] = true
		_, _ = io.WriteString(w, r.Proto)
	})
	read := func() {
		t.Helper()
		if answer := p.get(t, "/api/v1/nodes/reused/proxy/pods").want(t, http.StatusOK); answer.body != "HTTP/2.0" {
			t.Errorf("by %s", answer.body)
		}
	}
	p.worker(t, ns, "reused", kubelet.port(t), internalIP("127.0.0.1"))
	// The server's informer may lag.
	testwait.Until(t, "a connection that is used again", func(context.Context) error {
		before := count()
		read()
		read()
		if now := count(); now > max(before, 1) {
			return errTooMany
		}
		return nil
	})
	before := count()
	for range 5 {
		read()
	}
	if now := count(); now != before {
		t.Errorf("%d more connections for 5 requests", now-before)
	}
	if err := p.admin().CoreV1().Nodes().Delete(t.Context(), "reused", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := p.namespace(t)
	p.worker(t, again, "reused", kubelet.port(t), internalIP("127.0.0.1"))
	testwait.Until(t, "a connection to the new node", func(context.Context) error {
		read()
		if count() == before {
			return errTooFew
		}
		return nil
	})
}
