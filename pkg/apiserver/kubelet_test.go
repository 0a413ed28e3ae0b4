// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"
	criremotecommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

const kubeletClient = "kube-apiserver-kubelet-client"

// The server sends its client certificate with all requests to kubelets.
func TestKubeletSeesClientCertificate(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	const node = "client-certificate"
	kubelet := echoKubelet(t, serving(t, p.pki.KubeletServingCA(), node, "127.0.0.1"))
	p.worker(t, ns, node, kubelet.port(t), internalIP("127.0.0.1"))

	for path, want := range map[string]string{
		"/api/v1/namespaces/" + ns + "/pods/" + node + "/log":                         "/containerLogs/" + ns + "/" + node + "/main",
		"/api/v1/nodes/" + node + "/proxy/pods":                                       "/pods",
		fmt.Sprintf("/api/v1/nodes/%s:%d/proxy/stats/", node, kubelet.port(t)):        "/stats/",
		fmt.Sprintf("/api/v1/nodes/https:%s:%d/proxy/run", node, kubelet.port(t)):     "/run",
		"/api/v1/namespaces/" + ns + "/pods/" + node + "/log?follow=true&tailLines=1": "/containerLogs/" + ns + "/" + node + "/main",
	} {
		if got := p.get(t, path).want(t, http.StatusOK).body; got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	for _, subresource := range []string{"exec", "attach"} {
		for name, executor := range p.executors(t, ns, node, subresource) {
			if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard}); !contains(err, "/"+subresource+"/"+ns+"/"+node+"/main") {
				t.Errorf("%s, %s: got %v, want the kubelet's answer", subresource, name, err)
			}
		}
	}
	err := p.portForward(t, ns, node)
	if !contains(err, "/portForward/"+ns+"/"+node) {
		t.Errorf("portforward: got %v, want the kubelet's answer", err)
	}

	if callers := kubelet.seen(); len(callers) != 10 {
		t.Errorf("got %d calls, want 10", len(callers))
	}
	for _, caller := range kubelet.seen() {
		if caller.Subject.CommonName != kubeletClient || caller.CheckSignatureFrom(p.pki.CA().Cert) != nil {
			t.Errorf("got a call by %s of %s, want the server's client certificate", caller.Subject, caller.Issuer)
		}
	}
}

// cat is a container that returns its input.
type cat struct{}

func (cat) ExecInContainer(_ context.Context, _, _, _ string, _ []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan criremotecommand.TerminalSize, _ time.Duration) error {
	_, err := io.Copy(out, in)
	return err
}

// catKubelet runs cat, with the code that kubelets and container runtimes use.
func catKubelet(w http.ResponseWriter, r *http.Request) {
	options, err := criremotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	criremotecommand.ServeExec(w, r, cat{}, "", "", "", nil, options, time.Minute, time.Minute, criremotecommand.SupportedStreamingProtocols)
}

func TestKubeletExec(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	kubelet := startKubelet(t, serving(t, p.pki.KubeletServingCA(), "exec", "127.0.0.1"), catKubelet)
	p.worker(t, ns, "exec", kubelet.port(t), internalIP("127.0.0.1"))
	for name, executor := range p.executors(t, ns, "exec", "exec") {
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		var stdout bytes.Buffer
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("there and back"), Stdout: &stdout})
		cancel()
		if err != nil || stdout.String() != "there and back" {
			t.Errorf("%s: got %q, error %v, want the input", name, stdout.String(), err)
		}
	}
}

func TestKubeletCertificate(t *testing.T) {
	insecure := startPlane(t, func(c *apiserver.Config) { c.KubeletInsecureTLS = true })
	secure := sharedPlane(t)
	kubelets := secure.pki.KubeletServingCA()
	const unknown, wrongName = "certificate signed by unknown authority", "x509: certificate is of"
	subject := func(name string, organizations ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: name, Organization: organizations} }
	}
	usage := func(usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
	}
	for _, test := range []struct {
		name, problem string
		authority     *pki.CA
		ip            string
		modify        func(*x509.Certificate)
	}{
		{"own-address", "", kubelets, "127.0.0.1", nil},
		{"older-release", "", secure.pki.CA(), "127.0.0.1", nil},
		{"self-signed", unknown, nil, "127.0.0.1", nil},
		{"other-authority", unknown, insecure.pki.KubeletServingCA(), "127.0.0.1", nil},
		{"front-proxy-authority", unknown, secure.pki.FrontProxyCA(), "127.0.0.1", nil},
		{"other-address", "certificate is valid for 127.0.0.2, not 127.0.0.1", kubelets, "127.0.0.2", nil},
		{"other-node", wrongName, kubelets, "127.0.0.1", subject("system:node:evil", "system:nodes")},
		{"other-node-of-older-release", wrongName, secure.pki.CA(), "127.0.0.1", subject("system:node:evil", "system:nodes")},
		{"other-group", wrongName, kubelets, "127.0.0.1", func(c *x509.Certificate) { c.Subject.Organization = []string{"admins"} }},
		{"group-more", wrongName, kubelets, "127.0.0.1", func(c *x509.Certificate) { c.Subject.Organization = []string{"system:nodes", "admins"} }},
		{"no-group", wrongName, kubelets, "127.0.0.1", func(c *x509.Certificate) { c.Subject.Organization = nil }},
		{"two-names", wrongName, kubelets, "127.0.0.1", func(c *x509.Certificate) {
			name := c.Subject.CommonName
			c.Subject = pkix.Name{Organization: []string{"system:nodes"}, ExtraNames: []pkix.AttributeTypeAndValue{
				{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "system:node:evil"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name}}}
		}},
		{"client", "incompatible key usage", kubelets, "127.0.0.1", usage(x509.ExtKeyUsageClientAuth)},
		{"client-of-cluster", unknown, secure.pki.CA(), "127.0.0.1", usage(x509.ExtKeyUsageClientAuth)},
		{"webhook", wrongName, secure.pki.CA(), "127.0.0.1", subject("hooks.example.com")},
		{"expired", "certificate has expired", kubelets, "127.0.0.1", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Second) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			reaches := func(p *plane, skip bool, problem string) {
				t.Helper()
				ns := p.namespace(t)
				node := test.name + "-" + ns
				modify := test.modify
				if modify == nil {
					modify = func(*x509.Certificate) {}
				}
				kubelet := startKubelet(t, serving(t, test.authority, node, test.ip, modify), func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Upgrade") != "" {
						catKubelet(w, r)
						return
					}
					_, _ = io.WriteString(w, "a line")
				})
				p.worker(t, ns, node, kubelet.port(t), internalIP("127.0.0.1"))
				log, err := p.logs(t, ns, node, corev1.PodLogOptions{InsecureSkipTLSVerifyBackend: skip})
				switch {
				case problem == "" && (err != nil || log != "a line"):
					t.Errorf("log: got %q, %v", log, err)
				case problem != "" && (!contains(err, problem) || !contains(err, "serverTLSBootstrap") || !contains(err, node)):
					t.Errorf("log: got %q, %v, want %q and what can be done", log, err, problem)
				}
				if skip {
					return // the other requests have no such option
				}
				for name, executor := range p.executors(t, ns, node, "exec") {
					err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard})
					if (problem == "") != (err == nil) || problem != "" && !contains(err, problem) {
						t.Errorf("exec, %s: got %v, want %q", name, err, problem)
					}
				}
				if problem == "" {
					return
				}
				for name, executor := range p.executors(t, ns, node, "attach") {
					err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard})
					if !contains(err, problem) {
						t.Errorf("attach, %s: got %v, want %q", name, err, problem)
					}
				}
				if err := p.portForward(t, ns, node); !contains(err, problem) {
					t.Errorf("portforward: got %v, want %q", err, problem)
				}
				if answer := p.get(t, "/api/v1/nodes/"+node+"/proxy/run/x"); answer.status < 500 || !strings.Contains(answer.body, problem) {
					t.Errorf("proxy: got %d %s, want %q", answer.status, answer.body, problem)
				}
				if called := kubelet.seen(); len(called) > 0 {
					t.Errorf("got %d requests at the kubelet, want none", len(called))
				}
			}
			reaches(secure, false, test.problem)
			reaches(secure, true, "")
			reaches(insecure, false, "")
		})
	}
}

// A server sends a renewed client certificate to kubelets to which it is already
// connected.
func TestKubeletSeesRenewedCertificate(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Now())
	identities := must(pki.Open(pki.Config{Clock: clock}))(t)
	p := startPlane(t, func(c *apiserver.Config) { c.PKI = identities })
	ns := p.namespace(t)
	kubelet := echoKubelet(t, serving(t, identities.KubeletServingCA(), "renewed", "127.0.0.1"))
	p.worker(t, ns, "renewed", kubelet.port(t), internalIP("127.0.0.1"))
	read := func() {
		t.Helper()
		if _, err := p.logs(t, ns, "renewed", corev1.PodLogOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	read()
	clock.SetTime(time.Now().Add(300 * 24 * time.Hour))
	if renewed, err := identities.Renew(); err != nil || !renewed {
		t.Fatal(renewed, err)
	}
	if err := p.ReloadIdentities(); err != nil {
		t.Fatal(err)
	}
	read()
	callers := kubelet.seen()
	want := must(identities.KubeletClient().TLS())(t).Leaf
	if callers[0].Equal(want) || !callers[1].Equal(want) {
		t.Errorf("shown: %s and %s, has %s", callers[0].NotAfter, callers[1].NotAfter, want.NotAfter)
	}
}

// When a kubelet disappears, its responses end.
func TestKubeletVanishes(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	kubelet := startKubelet(t, serving(t, p.pki.KubeletServingCA(), "vanishes", "127.0.0.1"), func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			catKubelet(w, r)
			return
		}
		_, _ = io.WriteString(w, "a line\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	p.worker(t, ns, "vanishes", kubelet.port(t), internalIP("127.0.0.1"))
	stream, err := p.admin().CoreV1().Pods(ns).GetLogs("vanishes", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := io.ReadFull(stream, make([]byte, len("a line\n"))); err != nil {
		t.Fatal(err)
	}
	kubelet.vanish()
	if more, err := io.ReadAll(stream); len(more) > 0 {
		t.Errorf("got %q after the end, error %v, want nothing", more, err)
	}
	for name, executor := range p.executors(t, ns, "vanishes", "exec") {
		stdin, typed := io.Pipe()
		read, stdout := io.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		ended := make(chan error, 1)
		go func() {
			ended <- executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout})
		}()
		_, _ = typed.Write([]byte("x"))
		if _, err := io.ReadFull(read, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		kubelet.vanish()
		// client-go treats the end of a connection as the end of the command.
		if err := <-ended; ctx.Err() != nil {
			t.Errorf("%s: got error %v after the timeout, want an end of exec before", name, err)
		}
		cancel()
		_ = typed.Close()
	}
}

// Stop waits for handlers, and a handler may wait for a kubelet that has accepted a
// connection and does not answer.
func TestStopEndsKubeletConnections(t *testing.T) {
	p := startPlane(t)
	ns := p.namespace(t)
	asked := make(chan struct{}, 4)
	kubelet := startKubelet(t, serving(t, p.pki.KubeletServingCA(), "silent", "127.0.0.1"), func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	p.worker(t, ns, "silent", kubelet.port(t), internalIP("127.0.0.1"))
	results := make(chan error, 2)
	for _, executor := range p.executors(t, ns, "silent", "exec") {
		go func() {
			results <- executor.StreamWithContext(context.Background(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard})
		}()
		<-asked
	}
	if err := p.Stop(ended()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-results; err == nil {
			t.Error("got no error of exec, want one")
		}
	}
}
