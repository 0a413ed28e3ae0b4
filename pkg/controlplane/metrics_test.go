// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// scrape returns the series that a host serves from gatherers as Prometheus gets them,
// with the number of samples of each.
func scrape(t *testing.T, gatherers ...prometheus.Gatherer) map[string]int {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	promhttp.HandlerFor(prometheus.Gatherers(gatherers), promhttp.HandlerOpts{}).ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("got HTTP %d, want 200: %.2000s", w.Code, w.Body)
	}
	return series(w.Body.String())
}

func series(text string) map[string]int {
	all := map[string]int{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			all[line[:strings.LastIndex(line, " ")]]++
		}
	}
	return all
}

// wantSeries checks that each series, or a series of each named family, exists once.
func wantSeries(t *testing.T, what string, all map[string]int, want ...string) {
	t.Helper()
	for name, n := range all {
		if n != 1 {
			t.Errorf("%s: got %s %d times, want once", what, name, n)
		}
	}
	for _, prefix := range want {
		if len(prefixed(all, prefix)) == 0 {
			t.Errorf("%s: got no %s, want it", what, prefix)
		}
	}
}

func prefixed(all map[string]int, prefix string) (found []string) {
	for name := range all {
		if strings.HasPrefix(name, prefix) {
			found = append(found, name)
		}
	}
	return found
}

// TestMetricsOfAHost: a host combines them with its own, in any order.
func TestMetricsOfAHost(t *testing.T) {
	snapshots := controlplane.Snapshots{Dir: t.TempDir(), Interval: time.Hour}
	one, two := start(t, controlplane.Config{Snapshots: snapshots}), start(t, controlplane.Config{Snapshots: snapshots})
	// The addresses of their listeners.
	label := func(s *controlplane.Server) string {
		return fmt.Sprintf("{control_plane=%q}", strings.TrimPrefix(s.URL(), "https://"))
	}
	const size, failures, last = "kubembed_etcd_database_size_bytes", "kubembed_snapshot_failures_total", "kubembed_snapshot_last_success_timestamp_seconds"
	own := func(s *controlplane.Server) []string {
		return []string{size + label(s), failures + label(s), last + label(s), "kubembed_requests_total" + label(s), "kubembed_requests_in_flight" + label(s)}
	}
	process := []string{
		"apiserver_request_total{", "apiserver_storage_objects{", "workqueue_depth{", "rest_client_requests_total{",
		"kubernetes_build_info{", "kubernetes_feature_enabled{", "version_info{", "kubembed_connections",
	}
	for name, gatherer := range map[string]prometheus.Gatherer{"one": one.Metrics(), "one again": one.Metrics()} {
		all := scrape(t, gatherer)
		wantSeries(t, name, all, slices.Concat(process, own(one))...)
		if others := prefixed(all, size+label(two)); len(others) > 0 {
			t.Errorf("%s: got %q of the other control plane, want none", name, others)
		}
	}
	everything := slices.Concat(process, own(one), own(two), []string{"etcd_server_has_leader", "go_goroutines", "apiserver_storage_size_bytes{"})
	for name, gatherers := range map[string][]prometheus.Gatherer{
		"the default one first": {prometheus.DefaultGatherer, one.Metrics(), two.Metrics()},
		"the default one last":  {two.Metrics(), one.Metrics(), prometheus.DefaultGatherer},
	} {
		wantSeries(t, name, scrape(t, gatherers...), everything...)
	}

	first, second := one.Metrics(), two.Metrics()
	closeServer(t, one)
	all := scrape(t, prometheus.DefaultGatherer, first, second)
	// Upstream deletes this one, of all control planes, and counts again each minute.
	process = slices.DeleteFunc(process, func(name string) bool { return name == "apiserver_storage_objects{" })
	wantSeries(t, "after one has stopped", all, slices.Concat(process, own(two))...)
	for _, gone := range own(one) {
		if all[gone] != 0 {
			t.Errorf("got %s after its control plane has stopped, want none", gone)
		}
	}
	host := strings.TrimPrefix(one.URL(), "https://")
	for name := range all {
		if strings.HasPrefix(name, "rest_client_") && strings.Contains(name, fmt.Sprintf("host=%q", host)) {
			t.Errorf("got %s after its control plane has stopped, want none", name)
		}
	}
	closeServer(t, two)
	for _, gatherer := range []prometheus.Gatherer{first, second, one.Metrics()} {
		if families, err := gatherer.Gather(); err != nil || len(families) > 0 {
			t.Errorf("after the end: got %v, %v, want nothing", families, err)
		}
	}
}

// TestMetricsOfListenersWithOneAddress: each control plane has a name of its own, which
// is the same in all its metrics.
func TestMetricsOfListenersWithOneAddress(t *testing.T) {
	var servers []*controlplane.Server
	for range 2 {
		listener := listen(t)
		servers = append(servers, start(t, controlplane.Config{
			Listener: opaque{listener, "vpn"}, BindAddress: listener.Addr().String(),
			Audit: apiserver.Audit{Sinks: []apiserver.AuditSink{{Name: "any", Events: func(context.Context, []auditv1.Event) error { return nil }}}},
		}))
	}
	for i, name := range []string{"vpn", "vpn#2"} {
		all := scrape(t, servers[i].Metrics())
		dropped := fmt.Sprintf(`kubembed_audit_events_dropped_total{control_plane=%q,sink="any"}`, name)
		requests := fmt.Sprintf("kubembed_requests_total{control_plane=%q}", name)
		if all[dropped] != 1 || all[requests] != 1 || len(prefixed(all, "kubembed_requests_total")) != 1 {
			t.Errorf("%s: got %q", name, prefixed(all, "kubembed_"))
		}
	}
	if _, err := prometheus.DefaultGatherer.Gather(); err != nil {
		t.Error(err)
	}
	wantSeries(t, "both", scrape(t, servers[0].Metrics(), servers[1].Metrics()),
		`kubembed_requests_total{control_plane="vpn"}`, `kubembed_requests_total{control_plane="vpn#2"}`)
}

// TestMetricsInTheDefaultGatherer: a host may add them to it, rather than to a handler.
func TestMetricsInTheDefaultGatherer(t *testing.T) {
	before := prometheus.DefaultGatherer
	t.Cleanup(func() { prometheus.DefaultGatherer = before })
	server := start(t, controlplane.Config{})
	prometheus.DefaultGatherer = prometheus.Gatherers{before, server.Metrics()}
	wantSeries(t, "the default", scrape(t, prometheus.DefaultGatherer), "kubembed_etcd_database_size_bytes{", "etcd_server_has_leader", "apiserver_request_total{")
}

// TestMetricsOfKubeAPIServer: /metrics has the metrics of kube-apiserver for dashboards
// and alerts, and etcd's, but not the host's.
func TestMetricsOfKubeAPIServer(t *testing.T) {
	mine := prometheus.NewCounter(prometheus.CounterOpts{Name: "etcetera_of_the_host_total", Help: "It is the host's."})
	prometheus.MustRegister(mine)
	t.Cleanup(func() { prometheus.Unregister(mine) })
	server := start(t, controlplane.Config{})
	other := start(t, controlplane.Config{})
	client := admin(t, server)
	// Tokens and leases are counted once there are some.
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "any"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"}}
	if _, err := client.CoreV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token}}
	if _, err := client.AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Administrators need no decisions and do not queue.
	if _, err := overTLS(t, server, "nobody").Discovery().ServerVersion(); err != nil {
		t.Fatal(err)
	}
	tls := overTLS(t, server, "admin", "system:masters")
	for _, client := range []*kubernetes.Clientset{client, tls} {
		if _, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// Events have no watch cache: their lists read the storage.
	if _, err := client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(filepath.Join("..", "apiserver", "testdata", "kube-apiserver-"+apiserver.KubernetesVersion, "metrics"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(golden))
	want = append(want, "etcd_server_has_leader", "etcd_disk_wal_fsync_duration_seconds", "etcd_mvcc_db_total_size_in_bytes", "os_fd_used")
	var text string
	there := map[string]bool{}
	missing := func(name string) bool { return !there[name] }
	testwait.Until(t, "metrics are missing", func(context.Context) error {
		data, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
		if err != nil {
			return errors.New(err.Error())
		}
		text = string(data)
		there = families(text)
		if slices.ContainsFunc(want, missing) {
			return errors.New(strings.Join(slices.DeleteFunc(slices.Clone(want), func(name string) bool { return !missing(name) }), " "))
		}
		return nil
	})
	for name := range there {
		if strings.HasPrefix(name, "etcetera") {
			t.Errorf("got %s of the host, want the series of the control plane only", name)
		}
	}
	for name, n := range series(text) {
		if n != 1 || strings.Contains(name, fmt.Sprintf("control_plane=%q", strings.TrimPrefix(other.URL(), "https://"))) {
			t.Errorf("got %s %d times, want once", name, n)
		}
	}
	if !strings.Contains(text, `git_version="`+apiserver.KubernetesVersion+`"`) {
		t.Error("kubernetes_build_info: got another release, want the embedded one")
	}
	if !strings.Contains(text, `kubernetes_feature_enabled{name="ComponentFlagz",stage="BETA"} 1`) {
		t.Error("kubernetes_feature_enabled: got no ComponentFlagz, want it")
	}
}

func families(text string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, found := strings.CutPrefix(line, "# TYPE "); found {
			all[strings.Fields(name)[0]] = true
		}
	}
	return all
}
