// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// hostilePage serves a page that pretends to be the API server's.
func hostilePage(w http.ResponseWriter, _ *http.Request) {
	headers := func() {
		w.Header().Set("Content-Security-Policy", "sandbox allow-scripts allow-same-origin")
		w.Header().Set("X-Content-Type-Options", "sniff")
		for _, name := range []string{"Set-Cookie", "Alt-Svc", "Clear-Site-Data", "Service-Worker-Allowed", "Strict-Transport-Security"} {
			w.Header().Set(name, "hostile=1")
		}
	}
	headers()
	w.WriteHeader(http.StatusEarlyHints) // it makes proxies drop the headers so far
	headers()
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<script>fetch('/api/v1/secrets')</script>")
}

func wantSandboxed(t *testing.T, what string, header http.Header) {
	t.Helper()
	if policies := header.Values("Content-Security-Policy"); len(policies) == 0 || policies[0] != "sandbox" {
		t.Errorf("%s: Content-Security-Policy: %q", what, policies)
	}
	if values := header.Values("X-Content-Type-Options"); !slices.Equal(values, []string{"nosniff"}) {
		t.Errorf("%s: X-Content-Type-Options: %q", what, values)
	}
}

// TestPagesOfOthersAreSandboxed: a page of a node once had the same origin as the API,
// for which the browser of an administrator has credentials.
func TestPagesOfOthersAreSandboxed(t *testing.T) {
	insecure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := startPlane(t, func(c *apiserver.Config) { c.InsecureListener = insecure })
	ns := p.namespace(t)
	const node = "hostile"
	kubelet := startKubelet(t, serving(t, p.pki.KubeletServingCA(), node, "127.0.0.1"), hostilePage)
	p.worker(t, ns, node, kubelet.port(t), internalIP("127.0.0.1"))
	admin := must(p.pki.IssueClient("admin", []string{"system:masters"}, 0))(t)
	page, logs := "/api/v1/nodes/"+node+"/proxy/page", "/api/v1/namespaces/"+ns+"/pods/"+node+"/log"
	overHTTP1 := p.httpClient(t, admin)
	overHTTP1.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	browser := []string{"Sec-Fetch-Site: none", "User-Agent: Mozilla/5.0"}
	for name, client := range map[string]*http.Client{"HTTP/2": p.httpClient(t, admin), "HTTP/1.1": overHTTP1, "in-process": p.inProcess(t)} {
		for _, path := range []string{page, logs} {
			answer := p.call(t, client, http.MethodGet, path, "", browser...).want(t, http.StatusOK)
			if !strings.Contains(answer.body, "<script>") {
				t.Fatalf("%s: %s: %q", name, path, answer.body)
			}
			wantSandboxed(t, name+": "+path, answer.header)
			for _, withheld := range []string{"Set-Cookie", "Alt-Svc", "Clear-Site-Data", "Service-Worker-Allowed", "Strict-Transport-Security"} {
				if values := answer.header.Values(withheld); len(values) > 0 {
					t.Errorf("%s: %s: %s: %q", name, path, withheld, values)
				}
			}
		}
	}
	// Programs keep their cookies.
	if answer := p.call(t, overHTTP1, http.MethodGet, page, "").want(t, http.StatusOK); answer.header.Get("Set-Cookie") == "" {
		t.Error("a cookie for curl is gone")
	}
	t.Run("insecure listener", func(t *testing.T) { insecureProxy(t, p, page, logs) })
}

// insecureProxy checks the responses to a browser that needs no credentials.
func insecureProxy(t *testing.T, p *plane, page, logs string) {
	client := p.httpClient(t, pki.KeyPair{})
	own := p.InsecureURL()
	for _, test := range []struct {
		name, method, path string
		headers            []string
		status             int
	}{
		{name: "curl", path: page, status: http.StatusOK},
		{name: "kubectl", path: page, headers: []string{"User-Agent: kubectl/v1.36.3 (linux/amd64)"}, status: http.StatusOK},
		{name: "a visit", path: page, headers: []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, status: http.StatusForbidden},
		{name: "a visit at an address that gets no Sec-Fetch", path: page, headers: []string{"User-Agent: Mozilla/5.0 (X11)"}, status: http.StatusForbidden},
		{name: "a fetch", path: page, headers: []string{"Sec-Fetch-Site: same-origin"}, status: http.StatusForbidden},
		{name: "a link", path: page, headers: []string{"Referer: " + own + "/"}, status: http.StatusForbidden},
		{name: "a form", method: http.MethodPost, path: page, headers: []string{"Origin: " + own}, status: http.StatusForbidden},
		{name: "an escaped path", path: strings.ReplaceAll(page, "proxy", "%70rox%79"), headers: []string{"Sec-Fetch-Site: none"}, status: http.StatusForbidden},
		{name: "a pod", path: "/api/v1/namespaces/default/pods/web:8080/proxy/", headers: []string{"Sec-Fetch-Site: none"}, status: http.StatusForbidden},
		{name: "a service", path: "/api/v1/namespaces/default/services/web/proxy", headers: []string{"Sec-Fetch-Site: none"}, status: http.StatusForbidden},
		{name: "the path of old releases", path: "/api/v1/proxy/nodes/hostile/", headers: []string{"Sec-Fetch-Site: none"}, status: http.StatusForbidden},
		{name: "a WebSocket", path: page, headers: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: " + own}, status: http.StatusForbidden},
		{name: "a log", path: logs, headers: []string{"Sec-Fetch-Site: none"}, status: http.StatusOK},
		{name: "a list in a browser", path: "/api/v1/nodes", headers: []string{"Sec-Fetch-Site: none", "User-Agent: Mozilla/5.0"}, status: http.StatusOK},
		{name: "a script of a page of a pod", path: "/api/v1/secrets", headers: []string{"Sec-Fetch-Site: same-origin", "Referer: " + own + "/api/v1/namespaces/default/pods/web:8080/proxy/"}, status: http.StatusForbidden},
		{name: "a script of a sandboxed page", path: "/api/v1/secrets", headers: []string{"Origin: null", "Sec-Fetch-Site: cross-site"}, status: http.StatusForbidden},
		{name: "a form of a sandboxed page", method: http.MethodPost, path: "/api/v1/namespaces", headers: []string{"Origin: null", "Content-Type: text/plain"}, status: http.StatusForbidden},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, own+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range test.headers {
			name, value, _ := strings.Cut(h, ": ")
			request.Header.Set(name, value)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != test.status {
			t.Errorf("%s: %s, want %d: %.200s", test.name, response.Status, test.status, body)
		}
		if test.status == http.StatusOK {
			wantSandboxed(t, test.name, response.Header)
		}
		if test.status == http.StatusForbidden && test.path == page && !strings.Contains(string(body), "kubectl port-forward") {
			t.Errorf("%s: the answer names no cure: %s", test.name, body)
		}
	}
}
