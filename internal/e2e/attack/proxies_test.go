// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// nodeProxy registers the control plane's own address in every spelling as a kubelet's,
// and sends requests for its identity through the proxy.
func nodeProxy(ctx context.Context, t *target, s *stats) {
	proxied, done := client(t.config(t.Nodes["proxied"]))
	defer done()
	low, doneLow := client(t.config(t.Low))
	defer doneLow()
	host, port, _ := net.SplitHostPort(t.host())
	number, _ := strconv.ParseInt(port, 10, 32)
	next := 0
	addresses := []corev1.NodeAddress{
		internal(host), internal("::ffff:" + host), internal("127.0.0.2"), internal("0.0.0.0"), internal("::1"),
		{Type: corev1.NodeHostName, Address: "localhost"}, {Type: corev1.NodeInternalDNS, Address: "localhost."},
		{Type: corev1.NodeExternalIP, Address: host}, {Type: corev1.NodeHostName, Address: host},
	}
	rounds(ctx, 200*time.Millisecond, func() {
		address := addresses[next%len(addresses)]
		next++
		if err := register(ctx, proxied, newNode("proxied", int32(number), address)); err != nil { // #nosec G115 -- a port
			return
		}
		for _, path := range []string{"/api/v1/nodes/good", "/apis/authentication.k8s.io/v1", "/api/v1/nodes/good/proxy/pods"} {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			s.tries.Add(1)
			body, err := low.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/proxied/proxy" + path).DoRaw(ctx)
			cancel()
			if err == nil {
				s.win("%s through the proxy of %v: %.100s", path, address, body)
			}
			s.answered.Add(1)
		}
	})
}

// webPages sends a browser's requests for other sites' pages to the insecure listener,
// and for pages through proxies.
func webPages(ctx context.Context, t *target, s *stats) {
	hc := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer hc.CloseIdleConnections()
	get := func(path string, headers ...string) *http.Response {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.Insecure+path, nil)
		if err != nil {
			panic(err)
		}
		for i := 0; i < len(headers); i += 2 {
			if headers[i] == "Host" {
				r.Host = headers[i+1]
			}
			r.Header.Set(headers[i], headers[i+1])
		}
		s.tries.Add(1)
		response, err := hc.Do(r)
		if err != nil {
			return nil
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		response.Body = io.NopCloser(bytes.NewReader(body))
		s.answered.Add(1)
		return response
	}
	page, done := client(t.config(t.Nodes["page"]))
	defer done()
	kubelet, err := serve(pageAddress, servePage)
	if err != nil {
		s.note(err.Error())
		return
	}
	defer kubelet.stop()
	rounds(ctx, 100*time.Millisecond, func() {
		if kubelet.pair.Load() == nil {
			_ = register(ctx, page, newNode("page", kubelet.port, internal(pageAddress)))
			if cert, key, err := ask(ctx, page, "", certificatesv1.KubeletServingSignerName, "page", []string{pageAddress}); err == nil {
				kubelet.use(cert, key)
			}
		}
		for _, headers := range [][]string{
			{"Origin", "http://evil.example.com"}, {"Origin", "null"}, {"Host", "evil.example.com"}, {"Host", "evil.example.com:8080"},
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Host", "127.0.0.1.nip.io"},
		} {
			if response := get("/api/v1/secrets", headers...); response != nil && response.StatusCode < 300 {
				s.win("a page got Secrets with %v", headers)
			}
		}
		for _, path := range []string{"/api/v1/nodes/page/proxy/", "/api/v1/nodes/page/proxy/index.html"} {
			response := get(path, "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
			if response == nil {
				continue
			}
			s.note("a page through the proxy: " + response.Status)
			policy := response.Header.Get("Content-Security-Policy")
			if body, _ := io.ReadAll(response.Body); strings.Contains(string(body), pageText) && !strings.Contains(policy, "sandbox") {
				s.win("a proxied page with the origin of the listener, and the policy %q", policy)
			}
		}
	})
}

// pageAddress is the address of the kubelet of the node page.
const pageAddress = "127.0.0.78"

// pageText is part of the page that the node page serves.
const pageText = "fetch('/api/v1/secrets')"

// servePage serves a page as the kubelet of the node page.
func servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = fmt.Fprintf(w, "<script>%s</script>", pageText)
}
