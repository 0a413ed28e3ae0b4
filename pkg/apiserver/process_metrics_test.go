// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestTimeZones: CronJobs may name a time zone if the machine has no zone files.
func TestTimeZones(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	for zone, want := range map[string]bool{"Europe/Berlin": true, "Pacific/Chatham": true, "Nowhere/Land": false} {
		job := &batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "nightly-"},
			Spec: batchv1.CronJobSpec{Schedule: "0 3 * * *", TimeZone: new(zone), JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{
				Template: corev1.PodTemplateSpec{Spec: pod("any").Spec},
			}}},
		}
		job.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		if _, err := p.admin().BatchV1().CronJobs(ns).Create(t.Context(), job, metav1.CreateOptions{}); (err == nil) != want {
			t.Errorf("%s: %v", zone, err)
		}
	}
}

// TestTimeZonesWithoutZoneFiles runs TestTimeZones without zone files.
func TestTimeZonesWithoutZoneFiles(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("hiding the machine's zone files takes root and Linux")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const hide = `for d in /usr/share/zoneinfo /usr/share/lib/zoneinfo /usr/lib/locale/TZ /etc/zoneinfo "$1"; do
		if [ -d "$d" ]; then mount -t tmpfs none "$d" || exit 99; fi
	done
	unset ZONEINFO TZ
	exec "$2" -test.run='^TestTimeZones$' -test.v`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", hide, "sh", filepath.Join(goroot(t), "lib", "time"), self)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.Is(err, exec.ErrNotFound) || errors.As(err, &exit) && exit.ExitCode() == 99 || strings.Contains(string(out), "unshare failed") {
		t.Skipf("no mount namespace here: %v %s", err, out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestTimeZones") {
		t.Errorf("%v\n%s", err, out)
	}
}

// goroot returns GOROOT, whose zone files package time uses as a last resort.
func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestDebugPaths: profiles are served if the host enables them, to users with RBAC
// permissions. No user can change the process.
func TestDebugPaths(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.Profiling = true })
	for path, want := range map[string]int{
		"/debug/pprof/":                  http.StatusOK,
		"/debug/pprof/heap":              http.StatusOK,
		"/debug/pprof/goroutine":         http.StatusOK,
		"/debug/pprof/profile?seconds=1": http.StatusOK,
		"/debug/pprof/cmdline":           http.StatusNotFound,
		"/debug/flags":                   http.StatusNotFound,
		"/debug/flags/v":                 http.StatusNotFound,
		"/logs/":                         http.StatusNotFound,
		"/statusz":                       http.StatusOK,
		"/flagz":                         http.StatusOK,
		"/metrics/slis":                  http.StatusOK,
		"/debug/api_priority_and_fairness/dump_priority_levels": http.StatusOK,
	} {
		if a := p.get(t, path); a.status != want {
			t.Errorf("%s: HTTP %d, want %d", path, a.status, want)
		}
	}
	if a := p.call(t, p.inProcess(t), http.MethodDelete, "/metrics", ""); a.status != http.StatusOK || strings.Contains(a.body, "metrics reset") {
		t.Errorf("DELETE /metrics: HTTP %d %q", a.status, a.body)
	}

	nobody := p.httpClient(t, must(p.pki.IssueClient("nobody", nil, 0))(t))
	for _, path := range []string{"/debug/pprof/heap", "/flagz", "/statusz", "/metrics"} {
		p.call(t, nobody, http.MethodGet, path, "").want(t, http.StatusForbidden)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "profiler"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/debug/pprof/*"}}}}
	must(p.admin().RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}))(t)
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "profiler"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "profiler"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "nobody"}}}
	must(p.admin().RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}))(t)
	testwait.Until(t, "the profiler may not profile", func(context.Context) error {
		if a := p.call(t, nobody, http.MethodGet, "/debug/pprof/heap", ""); a.status != http.StatusOK {
			return errors.New(a.body)
		}
		return nil
	})
	// The default.
	if a := sharedPlane(t).get(t, "/debug/pprof/"); a.status != http.StatusNotFound {
		t.Errorf("profiles are served without being asked for: HTTP %d", a.status)
	}
}

// TestFlagzOfSettings: /flagz has the fields of the structs of Config.
func TestFlagzOfSettings(t *testing.T) {
	other := etcdtest.Start(t).Client(t)
	tokens := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(tokens, []byte("secret-token,jane,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	issuers := filepath.Join(t.TempDir(), "authentication.yaml")
	if err := os.WriteFile(issuers, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: false}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	certificate := newForeign(t, "one.example.com")
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication = apiserver.Authentication{
			Audiences: []string{"one", "two"}, TokenFile: tokens, ConfigurationFile: issuers,
		}
		c.Serving.SNICertificates = []apiserver.SNICertificate{{CertFile: certificate.certFile, KeyFile: certificate.keyFile, Names: []string{"one.example.com", "*.example.net"}}}
		c.Serving.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
		c.Network.ExternalHost, c.Network.ServiceNodePortRange = "api.example.com", "31000-31999"
		c.EtcdOverrides = []apiserver.EtcdOverride{{Resources: []string{"events", "leases.coordination.k8s.io"}, Client: other}}
	})
	at := strings.Join(other.Endpoints(), ";")
	wantFlags(t, p.get(t, "/flagz", "Accept: text/plain").want(t, http.StatusOK).body, map[string]string{
		"anonymous-auth": "false", "api-audiences": "[one,two]", "authentication-config": issuers, "token-auth-file": tokens,
		"tls-sni-cert-key": "[" + certificate.certFile + "," + certificate.keyFile + ":one.example.com,*.example.net]", "tls-curve-preferences": "[29,23]",
		"external-hostname": "api.example.com", "service-node-port-range": "31000-31999",
		"etcd-servers-overrides": "[/events#" + at + ",coordination.k8s.io/leases#" + at + "]",
	})
	wantFlags(t, sharedPlane(t).get(t, "/flagz", "Accept: text/plain").want(t, http.StatusOK).body, map[string]string{
		"anonymous-auth": "true", "service-node-port-range": "30000-32767", "api-audiences": "[https://kubernetes.default.svc.cluster.local]",
	})
}

// wantFlags checks values at /flagz.
func wantFlags(t testing.TB, body string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		// Upstream separates them by a random character.
		if !regexp.MustCompile(`(?m)^` + name + `[=: ]+` + regexp.QuoteMeta(value) + `$`).MatchString(body) {
			t.Errorf("%s is not %s in %s", name, value, body)
		}
	}
}

// TestFlagz: /flagz has the host's configuration, and no secret.
func TestFlagz(t *testing.T) {
	secret := strings.Repeat("s", 32)
	p := startPlane(t, func(c *apiserver.Config) {
		c.RequestTimeout = 77 * time.Second
		c.RuntimeConfig = map[string]string{"apps/v1": "false"}
		c.Encryption = apiserver.Encryption{Keys: []apiserver.EncryptionKey{{Name: "one", Secretbox: []byte(secret)}}, Resources: []string{"secrets"}}
	})
	body := p.get(t, "/flagz", "Accept: text/plain").want(t, http.StatusOK).body
	wantFlags(t, body, map[string]string{
		"request-timeout": "1m17s", "runtime-config": "apps/v1=false", "service-cluster-ip-range": "10.0.0.0/24",
		"authorization-mode": "[Node,RBAC]", "profiling": "false", "max-requests-inflight": "400",
	})
	if strings.Contains(body, secret) || strings.Contains(body, "PRIVATE") {
		t.Errorf("a secret is told: %s", body)
	}
}

// goldenLines returns the lines of a file of internal/bench/golden, which creates them
// with the real kube-apiserver of the embedded version.
func goldenLines(t *testing.T, name string) (lines []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "kube-apiserver-"+apiserver.KubernetesVersion, name))
	if err != nil {
		t.Fatalf("%v: make it by go run ./internal/bench/golden", err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// TestHealthChecksOfKubeAPIServer: monitors request checks by their names.
func TestHealthChecksOfKubeAPIServer(t *testing.T) {
	p := sharedPlane(t)
	for _, endpoint := range []string{"readyz", "livez", "healthz"} {
		checks := goldenLines(t, endpoint)
		if len(checks) < 30 {
			t.Fatalf("%d checks", len(checks))
		}
		body := p.get(t, "/"+endpoint+"?verbose").want(t, http.StatusOK).body
		for _, check := range checks {
			if !strings.Contains(body, "[+]"+check+" ok\n") {
				t.Errorf("/%s has no %s", endpoint, check)
			}
			if a := p.get(t, "/"+endpoint+"/"+check); a.status != http.StatusOK || a.body != "ok" {
				t.Errorf("/%s/%s: HTTP %d %s", endpoint, check, a.status, a.body)
			}
		}
	}
}

// TestPathsOfKubeAPIServer compares the paths that the server lists at its root.
func TestPathsOfKubeAPIServer(t *testing.T) {
	var list struct{ Paths []string }
	p := sharedPlane(t)
	if err := json.Unmarshal([]byte(p.get(t, "/").want(t, http.StatusOK).body), &list); err != nil {
		t.Fatal(err)
	}
	for _, path := range goldenLines(t, "paths") {
		if !slices.Contains(list.Paths, path) {
			t.Errorf("%s is not listed", path)
		}
	}
}
