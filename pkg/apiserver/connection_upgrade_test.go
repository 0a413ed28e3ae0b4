// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// Executors request the upgrade below the wrapped transport. In-process, the WebSocket
// executor once panicked.
func TestExecutorsConnect(t *testing.T) {
	p := sharedPlane(t)
	url := p.admin().CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("missing").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"true"}, Stdout: true}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(p.ClientConfig(), "POST", url)
	if err != nil {
		t.Fatal(err)
	}
	webSocket, err := remotecommand.NewWebSocketExecutor(p.ClientConfig(), "GET", url.String())
	if err != nil {
		t.Fatal(err)
	}
	for name, executor := range map[string]remotecommand.Executor{"SPDY": spdy, "WebSocket": webSocket} {
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard})
		cancel()
		if err == nil || ctx.Err() == context.DeadlineExceeded {
			t.Errorf("%s: got error %v, want one before the timeout", name, err)
			continue
		}
		t.Logf("%s: %v (not found: %v)", name, err, apierrors.IsNotFound(err))
	}
}

// An upgraded connection belongs to its handler, which returns only when the connection
// ends. Stop once waited ten seconds for it, until its timeout.
func TestStopEndsUpgradedConnections(t *testing.T) {
	const group = "upgraded.example.com"
	p := startPlane(t)
	ns := p.namespace(t)
	held := make(chan net.Conn, 1)
	server := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"`+group+`/v1","resources":[]}`)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		held <- conn
	})
	p.service(t, ns, server.Listener.Addr())
	p.register(t, group, ns, func(s *apiregistrationv1.APIServiceSpec) { s.InsecureSkipTLSVerify = true })
	p.wantAvailable(t, group, apiregistrationv1.ConditionTrue, "Passed")

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.pki.CABundle())
	config := p.ClientConfig()
	certificates := []tls.Certificate{must(tls.X509KeyPair(config.CertData, config.KeyData))(t)}
	client := must((&tls.Dialer{Config: &tls.Config{RootCAs: roots, Certificates: certificates}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL(), "https://")))(t)
	defer client.Close()
	if _, err := fmt.Fprintf(client, "GET /apis/%s/v1/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n",
		group); err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(client)
	response := must(http.ReadResponse(answer, nil))(t)
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %s, want 101", response.Status)
	}
	defer (<-held).Close()
	if err := p.Stop(ended()); err != nil {
		t.Error(err)
	}
	if _, err := answer.ReadByte(); err == nil {
		t.Error("got a byte, want a closed connection")
	}
}
