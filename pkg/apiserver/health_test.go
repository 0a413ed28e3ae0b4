// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

func TestVersion(t *testing.T) {
	p := sharedPlane(t)
	var version struct{ Major, Minor, GitVersion string }
	unmarshal(t, p.get(t, "/version").want(t, http.StatusOK).body, &version)
	if !strings.HasPrefix(apiserver.KubernetesVersion, "v"+version.Major+"."+version.Minor+".") || version.GitVersion != apiserver.KubernetesVersion {
		t.Errorf("got version %+v, want KubernetesVersion", version)
	}
}

func TestMetrics(t *testing.T) {
	p := sharedPlane(t)
	p.get(t, "/api/v1/nodes").want(t, http.StatusOK)
	a := p.get(t, "/metrics").want(t, http.StatusOK)
	for _, name := range []string{"apiserver_request_total{", "apiserver_request_duration_seconds_bucket{", "etcd_request_duration_seconds_bucket{", "apiserver_flowcontrol_dispatched_requests_total{"} {
		if !strings.Contains(a.body, "\n"+name) {
			t.Errorf("metric %s is missing", name)
		}
	}
}

func TestHealth(t *testing.T) {
	p := sharedPlane(t)
	for path, checks := range map[string][]string{
		"/healthz": {"ping", "etcd", "poststarthook/start-apiextensions-controllers"},
		"/livez":   {"ping", "etcd", "poststarthook/start-apiextensions-informers"},
		"/readyz":  {"ping", "etcd", "etcd-readiness", "informer-sync", "poststarthook/crd-informer-synced", "poststarthook/apiservice-discovery-controller"},
	} {
		if a := p.get(t, path).want(t, http.StatusOK); a.body != "ok" {
			t.Errorf("%s: got %q, want ok", path, a.body)
		}
		verbose := p.get(t, path+"?verbose").want(t, http.StatusOK).body
		for _, check := range checks {
			if !strings.Contains(verbose, "[+]"+check+" ok\n") {
				t.Errorf("%s: check %s is missing or fails: %s", path, check, verbose)
			}
			p.get(t, path+"/"+check).want(t, http.StatusOK)
		}
		p.get(t, path+"/unknown").want(t, http.StatusNotFound)
	}
}

// TestHealthWithoutEtcd: the checks of etcd fail without etcd.
func TestHealthWithoutEtcd(t *testing.T) {
	p := startPlane(t)
	if err := p.etcd.Close(); err != nil {
		t.Error(err)
	}
	for path, check := range map[string]string{"/livez": "etcd", "/readyz": "etcd-readiness"} {
		if a := p.get(t, path+"?verbose").want(t, http.StatusInternalServerError); !strings.Contains(a.body, "[-]"+check+" failed") {
			t.Errorf("%s: got %s, want a failed check of etcd", path, a.body)
		}
	}
}

// TestNoProfiling: the handlers could change the log level of the host's process.
func TestNoProfiling(t *testing.T) {
	p := sharedPlane(t)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/profile", "/debug/flags/v", "/debug/api_priority_and_fairness/unknown"} {
		p.get(t, path).want(t, http.StatusNotFound)
	}
}

func TestPriorityAndFairness(t *testing.T) {
	p := sharedPlane(t)
	client := p.admin().FlowcontrolV1()
	for _, test := range []struct {
		pair   pki.KeyPair
		schema string
		level  string
	}{
		{must(p.pki.IssueClient("jane", nil, 0))(t), "global-default", "global-default"},
		{must(p.pki.IssueClient("root", []string{"system:masters"}, 0))(t), "exempt", "exempt"},
		{must(p.pki.IssueNode("pf", 0))(t), "system-nodes", "system"},
	} {
		schema := must(client.FlowSchemas().Get(t.Context(), test.schema, metav1.GetOptions{}))(t)
		level := must(client.PriorityLevelConfigurations().Get(t.Context(), test.level, metav1.GetOptions{}))(t)
		header := p.call(t, p.httpClient(t, test.pair), http.MethodGet, "/api", "").want(t, http.StatusOK).header
		if got := header.Get("X-Kubernetes-Pf-Flowschema-Uid"); got != string(schema.UID) {
			t.Errorf("%s: flow schema %q, want %q", test.schema, got, schema.UID)
		}
		if got := header.Get("X-Kubernetes-Pf-Prioritylevel-Uid"); got != string(level.UID) {
			t.Errorf("%s: priority level %q, want %q", test.schema, got, level.UID)
		}
	}
}

func TestBodyThatIsTooLarge(t *testing.T) {
	p := sharedPlane(t)
	body := must(json.Marshal(map[string]any{"metadata": map[string]string{"name": "large"}, "data": map[string]string{"key": strings.Repeat("x", 4<<20)}}))(t)
	path := "/api/v1/namespaces/" + p.namespace(t) + "/configmaps"
	p.call(t, p.inProcess(t), http.MethodPost, path, string(body)).want(t, http.StatusRequestEntityTooLarge)
	pair := must(p.pki.IssueClient("root", []string{"system:masters"}, 0))(t)
	p.call(t, p.httpClient(t, pair), http.MethodPost, path, string(body)).want(t, http.StatusRequestEntityTooLarge)
}

// TestRequestTimeout: each request waits for a webhook that does not answer.
func TestRequestTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		modify func(*apiserver.Config)
		query  string
	}{
		"Config":  {func(c *apiserver.Config) { c.RequestTimeout = 2 * time.Second }, ""},
		"request": {func(*apiserver.Config) {}, "?timeout=2s"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlane(t, test.modify)
			released := make(chan struct{})
			defer close(released)
			called := make(chan struct{}, 100)
			p.validatingWebhook(t, "default", webhook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				called <- struct{}{}
				<-released
				return &admissionv1.AdmissionResponse{}
			}), admissionregistrationv1.Fail)
			const body = `{"metadata":{"generateName":"p-"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
			for {
				request := must(http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+"/api/v1/namespaces/default/pods"+test.query, strings.NewReader(body)))(t)
				request.Header.Set("Content-Type", "application/json")
				response, err := p.inProcess(t).Do(request)
				if err == nil {
					response.Body.Close()
				}
				switch {
				case err == nil && response.StatusCode == http.StatusCreated:
					continue // admission does not have the webhook yet
				case err == nil && response.StatusCode != http.StatusGatewayTimeout:
					t.Errorf("HTTP %s, want 504", response.Status)
				case err != nil && !contains(err, "aborted"):
					// Upstream aborts a response that has begun at the timeout.
					t.Error(err)
				}
				<-called
				return
			}
		})
	}
}
