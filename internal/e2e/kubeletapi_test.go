// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestKubeletAuthorization sends requests directly to a kubelet, which authenticates
// and authorizes its clients through the control plane.
func TestKubeletAuthorization(t *testing.T) {
	p, _ := startServer(t, controlplane.Config{})
	k := p.kubectl(t)
	w := startWorker(t, p, "worker1")
	waitServing(t, w)
	other := startWorker(t, p, "worker2")
	stranger, _ := startServer(t, controlplane.Config{})

	k.ok(t, "create", "serviceaccount", "scraper")
	scraper := rest.Config{BearerToken: strings.TrimSpace(k.ok(t, "create", "token", "scraper"))}
	admin := *p.clientConfig(t)
	const metrics, exec = "GET /metrics", "POST /exec/default/pod/container?command=true&output=1"
	wantStatus := func(who string, as rest.Config, request string, code int) {
		t.Helper()
		if got := w.ask(t, p, as, request); got != code {
			t.Errorf("%s, %s: got %d, want %d", who, request, got, code)
		}
	}
	wantStatus("nobody", rest.Config{}, metrics, http.StatusUnauthorized)
	wantStatus("a wrong token", rest.Config{BearerToken: "nonsense"}, metrics, http.StatusUnauthorized)
	wantStatus("a join token", rest.Config{BearerToken: joinToken(t, p)}, metrics, http.StatusForbidden)
	wantStatus("another cluster's admin", *stranger.clientConfig(t), metrics, http.StatusUnauthorized)
	wantStatus("another node", *other.clientConfig(t), metrics, http.StatusForbidden)
	wantStatus("an admin", admin, metrics, http.StatusOK)
	wantStatus("an admin", admin, "GET /pods", http.StatusOK)

	for _, request := range []string{metrics, "GET /pods", "GET /configz", exec} {
		wantStatus("a service account", scraper, request, http.StatusForbidden)
	}
	k.ok(t, "create", "clusterrole", "scraper", "--verb=get", "--resource=nodes/metrics")
	k.ok(t, "create", "clusterrolebinding", "scraper", "--clusterrole=scraper", "--serviceaccount=default:scraper")
	testwait.Until(t, "200", func(context.Context) error {
		code := w.ask(t, p, scraper, metrics)
		return unless(code == http.StatusOK, code)
	})
	for _, request := range []string{"GET /pods", "GET /configz", exec} {
		wantStatus("a service account with nodes/metrics", scraper, request, http.StatusForbidden)
	}

	// The control plane itself may do everything, for clients that are allowed to use
	// its proxy.
	robot := k.withCredentials(t, clientcmdapi.AuthInfo{Token: scraper.BearerToken})
	for _, path := range []string{"metrics", "pods", "configz"} {
		k.ok(t, "get", "--raw", "/api/v1/nodes/worker1/proxy/"+path)
		robot.fails(t, "", "orbidden", "get", "--raw", "/api/v1/nodes/worker1/proxy/"+path)
	}
}

// ask sends a request to the kubelet of a worker and returns the status code.
func (w *worker) ask(t *testing.T, p plane, as rest.Config, request string) int {
	t.Helper()
	as.CAData = p.ca(t)
	config, err := rest.TLSConfigFor(&as)
	if err != nil {
		t.Fatal(err)
	}
	serving := w.servingTLS()
	config.InsecureSkipVerify, config.VerifyConnection = serving.InsecureSkipVerify, serving.VerifyConnection
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	method, path, _ := strings.Cut(request, " ")
	req, err := http.NewRequestWithContext(ctx, method, "https://"+net.JoinHostPort(w.address, port)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if as.BearerToken != "" {
		req.Header.Set("Authorization", "Bearer "+as.BearerToken)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// joinToken returns the token of a new join file.
func joinToken(t *testing.T, p plane) string {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(p.joinKubeconfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return config.BearerToken
}
