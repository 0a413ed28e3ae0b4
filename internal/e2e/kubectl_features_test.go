// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

const (
	deploymentYAML = "testdata/deployment.yaml"
	widgetsYAML    = "testdata/widgets.yaml"
	widgetYAML     = "testdata/widget.yaml"
)

// TestKubectl runs common commands against a control plane without nodes. Commands that
// write use their own namespace.
func TestKubectl(t *testing.T) {
	p, _ := startServer(t, controlplane.Config{})
	k := p.kubectl(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, k *kubectl)
	}{
		{"version", kubectlVersion},
		{"cluster-info", kubectlClusterInfo},
		{"readyz", kubectlReadyz},
		{"api-resources", kubectlAPIResources},
		{"explain", kubectlExplain},
		{"namespaces", kubectlNamespaces},
		{"get", kubectlGet},
		{"apply", kubectlApply},
		{"apply --server-side", kubectlApplyServerSide},
		{"dry run", kubectlDryRun},
		{"validate", kubectlValidate},
		{"diff", kubectlDiff},
		{"patch", kubectlPatch},
		{"label and annotate", kubectlLabel},
		{"scale", kubectlScale},
		{"watch", kubectlWatch},
		{"services", kubectlServices},
		{"secrets", kubectlSecrets},
		{"events", kubectlEvents},
		{"custom resources", kubectlCustomResources},
		{"auth", kubectlAuth},
		{"token", kubectlToken},
		{"delete", kubectlDelete},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, k) })
	}
}

// namespace creates a namespace for a test and returns the flag that selects it.
func namespace(t *testing.T, k *kubectl, name string) string {
	t.Helper()
	wantIs(t, k.ok(t, "create", "namespace", name), "namespace/"+name+" created")
	return "--namespace=" + name
}

func kubectlVersion(t *testing.T, k *kubectl) {
	r := k.run(t, "", "version")
	if r.code != 0 || r.stderr != "" { // version skew warnings go to stderr
		t.Errorf("%sexit code %d", r, r.code)
	}
	want(t, r.stdout, "Client Version: "+kubectlRelease(t, k), "Server Version: "+upstreamVersion)

	var v struct {
		ServerVersion struct{ Major, Minor, GitVersion, Platform string }
	}
	if err := json.Unmarshal([]byte(k.ok(t, "version", "-o", "json")), &v); err != nil {
		t.Fatal(err)
	}
	if v.ServerVersion.Major != "1" || v.ServerVersion.Minor != strings.Split(upstreamVersion, ".")[1] || v.ServerVersion.Platform == "" {
		t.Errorf("got %+v", v.ServerVersion)
	}
}

// kubectlRelease returns the version of kubectl. It is the server's unless -kubectl is
// set.
func kubectlRelease(t *testing.T, k *kubectl) string {
	t.Helper()
	if *kubectlPath == "" {
		return upstreamVersion
	}
	var v struct{ ClientVersion struct{ GitVersion string } }
	if err := json.Unmarshal([]byte(k.ok(t, "version", "--client", "-o", "json")), &v); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is %s", *kubectlPath, v.ClientVersion.GitVersion)
	return v.ClientVersion.GitVersion
}

func kubectlClusterInfo(t *testing.T, k *kubectl) {
	want(t, k.ok(t, "cluster-info"), "Kubernetes control plane", "is running at", "https://127.0.0.1:")
}

func kubectlReadyz(t *testing.T, k *kubectl) {
	want(t, k.ok(t, "get", "--raw", "/readyz?verbose"), "[+]ping ok", "[+]etcd ok", "readyz check passed")
	wantIs(t, k.ok(t, "get", "--raw", "/livez"), "ok")
}

func kubectlAPIResources(t *testing.T, k *kubectl) {
	out := k.ok(t, "api-resources", "-o", "name")
	for _, name := range []string{
		"pods", "nodes", "configmaps", "secrets", "services", "serviceaccounts", "namespaces", "events",
		"deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch", "cronjobs.batch",
		"leases.coordination.k8s.io", "roles.rbac.authorization.k8s.io", "ingresses.networking.k8s.io",
		"customresourcedefinitions.apiextensions.k8s.io", "apiservices.apiregistration.k8s.io",
		"validatingadmissionpolicies.admissionregistration.k8s.io", "horizontalpodautoscalers.autoscaling",
		"storageclasses.storage.k8s.io", "certificatesigningrequests.certificates.k8s.io",
		"flowschemas.flowcontrol.apiserver.k8s.io", "selfsubjectreviews.authentication.k8s.io",
		"selfsubjectaccessreviews.authorization.k8s.io", "endpointslices.discovery.k8s.io",
		"poddisruptionbudgets.policy", "priorityclasses.scheduling.k8s.io",
	} {
		if !strings.Contains("\n"+out, "\n"+name+"\n") {
			t.Errorf("no %s", name)
		}
	}
	want(t, k.ok(t, "api-versions"), "apps/v1", "batch/v1", "apiextensions.k8s.io/v1", "v1")
	want(t, k.ok(t, "get", "apiservices"), "v1.apps", "Local", "True")
}

func kubectlExplain(t *testing.T, k *kubectl) {
	want(t, k.ok(t, "explain", "pods.spec.containers"), "KIND:       Pod", "FIELD: containers <[]Container>", "imagePullPolicy", "A single application container")
	want(t, k.ok(t, "explain", "deployment.spec.strategy", "--recursive"), "GROUP:      apps", "rollingUpdate", "maxSurge")
	k.fails(t, "", `field "nonsense" does not exist`, "explain", "pods.spec.nonsense")
}

func kubectlNamespaces(t *testing.T, k *kubectl) {
	out := k.ok(t, "get", "namespaces", "-o", `jsonpath={range .items[*]}{.metadata.name}={.status.phase} {end}`)
	want(t, out, "default=Active", "kube-system=Active", "kube-public=Active", "kube-node-lease=Active")
	namespace(t, k, "made")
	k.fails(t, "", "AlreadyExists", "create", "namespace", "made")
	k.fails(t, "", `namespaces "missing" not found`, "create", "configmap", "c", "--namespace=missing")
}

func kubectlGet(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "get")
	k.ok(t, "create", "-f", nginxUnbound, ns)
	rows := table(t, k.ok(t, "get", "pods", "-o", "wide", ns))
	if len(rows) != 1 || rows[0]["NAME"] != "nginx-unbound" || rows[0]["READY"] != "0/1" || rows[0]["NOMINATED NODE"] != "<none>" {
		t.Errorf("got %v", rows)
	}
	want(t, k.ok(t, "get", "pod", "nginx-unbound", "-o", "yaml", ns), "apiVersion: v1\nkind: Pod\n", "image: nginx:latest", "qosClass: BestEffort", "containerPort: 80")
	wantIs(t, k.ok(t, "get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}", ns), "nginx:latest")
	wantIs(t, k.ok(t, "get", "pods", "-l", "app=nginx", "-o", "name", ns), "pod/nginx-unbound")
	wantIs(t, k.ok(t, "get", "pods", "-l", "app!=nginx", "-o", "name", ns), "")
	wantIs(t, k.ok(t, "get", "pods", "--field-selector=status.phase=Pending", "-o", "name", ns), "pod/nginx-unbound")
	want(t, k.ok(t, "get", "pods", "-o", "custom-columns=N:.metadata.name,Q:.status.qosClass", ns), "nginx-unbound   BestEffort")
	want(t, k.ok(t, "get", "all", "-A"), "service/kubernetes", "pod/nginx-unbound")
	want(t, squeeze(k.ok(t, "describe", "pod", "nginx-unbound", ns)), "Name: nginx-unbound", "Node: <none>", "Status: Pending", "QoS Class: BestEffort")
	k.fails(t, "", `pods "missing" not found`, "get", "pod", "missing", ns)
	k.fails(t, "", `doesn't have a resource type "nonsense"`, "get", "nonsense")

	for i := range 7 {
		k.ok(t, "create", "secret", "generic", "page-"+string(rune('a'+i)), ns)
	}
	rows = table(t, k.ok(t, "get", "secrets", "--chunk-size=2", "--sort-by=.metadata.name", ns))
	if len(rows) != 7 || rows[6]["NAME"] != "page-g" {
		t.Errorf("in pages of two: got %v", rows)
	}
}

func kubectlApply(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "apply")
	wantIs(t, k.ok(t, "apply", "-f", deploymentYAML, ns), "deployment.apps/web created")
	wantIs(t, k.ok(t, "apply", "-f", deploymentYAML, ns), "deployment.apps/web unchanged")
	k.ok(t, "set", "image", "deployment/web", "nginx=nginx:1.29", ns)
	wantIs(t, k.ok(t, "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image},{.metadata.generation}", ns), "nginx:1.29,2")
	wantIs(t, k.ok(t, "apply", "-f", deploymentYAML, ns), "deployment.apps/web configured")
	many := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
	wantIs(t, k.okStdin(t, many, "apply", "-f", "-", ns), "configmap/a created\nconfigmap/b created")
	one, _, _ := strings.Cut(many, "---")
	want(t, k.okStdin(t, one, "apply", "-f", "-", "--prune", "--all", "--prune-allowlist=core/v1/ConfigMap", ns), "configmap/a unchanged", "configmap/b pruned")
}

func kubectlApplyServerSide(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "server-side")
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {key: one}\n"
	wantIs(t, k.okStdin(t, manifest, "apply", "--server-side", "-f", "-", ns), "configmap/c serverside-applied")
	other := strings.ReplaceAll(manifest, "one", "two")
	k.fails(t, other, `conflict with "kubectl": .data.key`, "apply", "--server-side", "--field-manager=other", "-f", "-", ns)
	k.okStdin(t, other, "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", ns)
	want(t, k.ok(t, "get", "configmap", "c", "-o", "yaml", "--show-managed-fields", ns), "key: two", "manager: other", "operation: Apply")
}

func kubectlDryRun(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "dry-run")
	wantIs(t, k.ok(t, "apply", "--dry-run=server", "-f", deploymentYAML, ns), "deployment.apps/web created (server dry run)")
	k.fails(t, "", `deployments.apps "web" not found`, "get", "deployment", "web", ns)
	want(t, k.ok(t, "create", "--dry-run=server", "-o", "yaml", "-f", deploymentYAML, ns), "revisionHistoryLimit: 10", "uid:")
	want(t, k.ok(t, "create", "deployment", "d", "--image=nginx", "--dry-run=client", "-o", "yaml"), "kind: Deployment")
}

func kubectlValidate(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "validate")
	unknown := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nonsense: 1, containers: [{name: c, image: i}]}\n"
	k.fails(t, unknown, `strict decoding error: unknown field "spec.nonsense"`, "apply", "--validate=strict", "-f", "-", ns)
	r := k.run(t, unknown, "apply", "--validate=warn", "-f", "-", ns)
	if r.code != 0 {
		t.Errorf("%sexit code %d", r, r.code)
	}
	want(t, r.stderr, `Warning: unknown field "spec.nonsense"`)
	invalid := "apiVersion: v1\nkind: Pod\nmetadata: {name: Q}\nspec: {containers: [{name: c}]}\n"
	k.fails(t, invalid, `spec.containers[0].image: Required value`, "create", "-f", "-", ns)
}

func kubectlDiff(t *testing.T, k *kubectl) {
	if _, err := exec.LookPath("diff"); err != nil {
		t.Skip("kubectl diff runs diff: ", err)
	}
	ns := namespace(t, k, "diff")
	k.ok(t, "apply", "-f", deploymentYAML, ns)
	wantIs(t, k.ok(t, "diff", "-f", deploymentYAML, ns), "")
	k.ok(t, "patch", "deployment", "web", "-p", `{"spec":{"replicas":4}}`, ns)
	r := k.run(t, "", "diff", "-f", deploymentYAML, ns)
	if r.code != 1 {
		t.Errorf("%sexit code %d, want 1: there are differences", r, r.code)
	}
	want(t, r.stdout, "-  replicas: 4", "+  replicas: 1")
}

func kubectlPatch(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "patch")
	k.ok(t, "apply", "-f", deploymentYAML, ns)
	template := `{"spec":{"template":{"spec":{"containers":[{"name":"%","image":"other"}]}}}}`
	images := func() string {
		return k.ok(t, "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[*].name}", ns)
	}
	k.ok(t, "patch", "deployment", "web", "--type=strategic", "-p", strings.ReplaceAll(template, "%", "second"), ns)
	wantIs(t, images(), "second nginx") // merged by name
	k.ok(t, "patch", "deployment", "web", "--type=merge", "-p", strings.ReplaceAll(template, "%", "third"), ns)
	wantIs(t, images(), "third")
	k.ok(t, "patch", "deployment", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/template/spec/containers/0/name","value":"fourth"}]`, ns)
	wantIs(t, images(), "fourth")
	k.ok(t, "patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", `{"status":{"replicas":2}}`, ns)
	wantIs(t, k.ok(t, "get", "deployment", "web", "--subresource=status", "-o", "jsonpath={.status.replicas}", ns), "2")
	k.fails(t, "", "the server rejected our request", "patch", "deployment", "web", "--type=json", "-p", `[{"op":"test","path":"/kind","value":"x"}]`, ns)
}

func kubectlLabel(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "label")
	k.ok(t, "create", "configmap", "c", ns)
	wantIs(t, k.ok(t, "label", "configmap", "c", "tier=front", ns), "configmap/c labeled")
	k.fails(t, "", "already has a value (front)", "label", "configmap", "c", "tier=back", ns)
	k.ok(t, "label", "configmap", "c", "tier=back", "--overwrite", ns)
	wantIs(t, k.ok(t, "get", "configmaps", "-l", "tier in (back)", "-o", "name", ns), "configmap/c")
	k.ok(t, "label", "configmap", "c", "tier-", ns)
	k.ok(t, "annotate", "configmap", "c", "note=hello", ns)
	wantIs(t, k.ok(t, "get", "configmap", "c", "-o", "jsonpath={.metadata.labels},{.metadata.annotations.note}", ns), ",hello")
}

func kubectlScale(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "scale")
	k.ok(t, "apply", "-f", deploymentYAML, ns)
	wantIs(t, k.ok(t, "scale", "deployment/web", "--replicas=3", ns), "deployment.apps/web scaled")
	wantIs(t, k.ok(t, "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}", ns), "3")
	k.fails(t, "", "Expected replicas to be 7, was 3", "scale", "deployment/web", "--current-replicas=7", "--replicas=1", ns)
	k.ok(t, "autoscale", "deployment/web", "--min=1", "--max=5", ns)
}

func kubectlWatch(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "watch")
	k.ok(t, "create", "configmap", "c", ns)
	c := k.command(t, "get", "configmap", "c", "--watch", "--output-watch-events", "--no-headers", ns)
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer func() {
		timeout.Stop()
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	lines := bufio.NewScanner(stdout)
	next := func(event string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the watch ended before %s: %v", event, lines.Err())
		}
		want(t, squeeze(lines.Text()), event+" c ")
	}
	next("ADDED")
	k.ok(t, "label", "configmap", "c", "a=b", ns)
	next("MODIFIED")
	k.ok(t, "delete", "configmap", "c", ns)
	next("DELETED")
}

func kubectlServices(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "services")
	rows := table(t, k.ok(t, "get", "service", "kubernetes", "--namespace=default"))
	if len(rows) != 1 || rows[0]["TYPE"] != "ClusterIP" || rows[0]["PORT(S)"] != "443/TCP" {
		t.Errorf("got %v", rows)
	}
	k.ok(t, "create", "service", "clusterip", "one", "--tcp=80:8080", ns)
	k.ok(t, "create", "service", "nodeport", "two", "--tcp=80:8080", ns)
	k.ok(t, "create", "service", "clusterip", "three", "--clusterip=None", ns)
	ips := map[string]bool{}
	for _, row := range table(t, k.ok(t, "get", "services", "-A")) {
		if ip := row["CLUSTER-IP"]; ip != "None" {
			if ip == "" || ip == "<none>" || ips[ip] {
				t.Errorf("cluster IP of %s: %q", row["NAME"], ip)
			}
			ips[ip] = true
		}
	}
	if port := k.ok(t, "get", "service", "two", "-o", "jsonpath={.spec.ports[0].nodePort}", ns); len(port) != 5 {
		t.Errorf("got node port %q", port)
	}
	k.ok(t, "apply", "-f", deploymentYAML, ns)
	wantIs(t, k.ok(t, "expose", "deployment", "web", "--port=80", ns), "service/web exposed")
}

func kubectlSecrets(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "secrets")
	k.ok(t, "create", "secret", "generic", "s", "--from-literal=key=value", ns)
	wantIs(t, k.ok(t, "get", "secret", "s", "-o", "jsonpath={.type} {.data.key}", ns),
		"Opaque "+base64.StdEncoding.EncodeToString([]byte("value")))
}

func kubectlEvents(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "events")
	event := `{"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"type":"Warning","reason":"Melted",
		"message":"too hot","involvedObject":{"apiVersion":"v1","kind":"Pod","name":"p","namespace":"events"},"count":2,
		"firstTimestamp":"2026-01-01T00:00:00Z","lastTimestamp":"2026-01-01T00:00:00Z"}`
	k.okStdin(t, event, "create", "-f", "-", ns)
	rows := table(t, k.ok(t, "get", "events", ns))
	if len(rows) != 1 || rows[0]["REASON"] != "Melted" || rows[0]["OBJECT"] != "pod/p" || rows[0]["TYPE"] != "Warning" {
		t.Errorf("got %v", rows)
	}
	want(t, k.ok(t, "events", "--for=pod/p", ns), "Melted", "too hot")
	wantIs(t, k.ok(t, "get", "events.events.k8s.io", "-o", "jsonpath={.items[*].note}", ns), "too hot")
}

func kubectlCustomResources(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "custom")
	wantIs(t, k.ok(t, "apply", "-f", widgetsYAML), "customresourcedefinition.apiextensions.k8s.io/widgets.e2e.kubembed.dev created")
	k.ok(t, "wait", "--for=condition=Established", "crd/widgets.e2e.kubembed.dev", "--timeout=60s")
	wantIs(t, k.ok(t, "apply", "-f", widgetYAML, ns), "widget.e2e.kubembed.dev/one created")
	rows := table(t, k.ok(t, "get", "wd", ns))
	if len(rows) != 1 || rows[0]["NAME"] != "one" || rows[0]["COLOUR"] != "red" || rows[0]["REPLICAS"] != "1" {
		t.Errorf("got %v", rows)
	}
	k.fails(t, "", `Unsupported value: "blue"`, "patch", "widget", "one", "--type=merge", "-p", `{"spec":{"colour":"blue"}}`, ns)
	k.fails(t, `{"apiVersion":"e2e.kubembed.dev/v1","kind":"Widget","metadata":{"name":"two"},"spec":{"colour":"red","x":1}}`,
		`unknown field "spec.x"`, "create", "-f", "-", ns)
	k.ok(t, "scale", "widget/one", "--replicas=3", ns)
	wantIs(t, k.ok(t, "get", "widget", "one", "-o", "jsonpath={.spec.replicas}", ns), "3")
	wantIs(t, k.ok(t, "apply", "--server-side", "--force-conflicts", "-f", widgetYAML, ns), "widget.e2e.kubembed.dev/one serverside-applied")

	// The schema is published with a delay.
	want(t, k.eventually(t, "explain", "widgets.spec"), "GROUP:      e2e.kubembed.dev", "What the widget shall be.", "The colour of the widget.", "-required-")

	wantIs(t, k.ok(t, "delete", "-f", widgetsYAML), `customresourcedefinition.apiextensions.k8s.io "widgets.e2e.kubembed.dev" deleted`)
	k.fails(t, "", "could not find the requested resource", "get", "widgets", ns)
}

func kubectlAuth(t *testing.T, k *kubectl) {
	wantIs(t, k.ok(t, "auth", "can-i", "create", "pods"), "yes")
	out := k.ok(t, "auth", "whoami")
	want(t, out, "admin", "system:masters", "system:authenticated")
	r := k.run(t, "", "auth", "can-i", "create", "pods", "--as=nobody")
	if r.code != 1 || strings.TrimSpace(r.stdout) != "no" {
		t.Errorf("%sexit code %d", r, r.code)
	}
	k.fails(t, "", `User "nobody" cannot list resource "secrets"`, "get", "secrets", "--as=nobody")

	ns := namespace(t, k, "auth")
	k.ok(t, "create", "role", "reader", "--verb=get,list", "--resource=configmaps", ns)
	k.ok(t, "create", "rolebinding", "reader", "--role=reader", "--user=somebody", ns)
	k.eventually(t, "get", "configmaps", "--as=somebody", ns)
	k.fails(t, "", "forbidden", "create", "configmap", "c", "--as=somebody", ns)
	want(t, k.ok(t, "auth", "can-i", "--list", "--as=somebody", ns), "configmaps", "[get list]")
	want(t, k.ok(t, "get", "clusterroles", "-o", "name"), "clusterrole.rbac.authorization.k8s.io/cluster-admin", "clusterrole.rbac.authorization.k8s.io/view")
}

// kubectlToken uses a service account's token instead of the certificate.
func kubectlToken(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "token")
	k.ok(t, "create", "serviceaccount", "robot", ns)
	token := strings.TrimSpace(k.ok(t, "create", "token", "robot", "--duration=1h", ns))

	robot := k.withCredentials(t, clientcmdapi.AuthInfo{Token: token})
	want(t, robot.ok(t, "auth", "whoami"), "system:serviceaccount:token:robot", "system:serviceaccounts:token")
	robot.fails(t, "", "forbidden", "get", "pods", ns)
	// Not the role view: a controller aggregates its rules.
	k.ok(t, "create", "role", "reader", "--verb=get,list", "--resource=pods", ns)
	k.ok(t, "create", "rolebinding", "robot", "--role=reader", "--serviceaccount=token:robot", ns)
	robot.eventually(t, "get", "pods", ns)

	// A token is invalid without its account. Use a new token: the result for a used
	// one is cached for ten seconds.
	token = strings.TrimSpace(k.ok(t, "create", "token", "robot", ns))
	k.ok(t, "delete", "serviceaccount", "robot", ns)
	k.withCredentials(t, clientcmdapi.AuthInfo{Token: token}).fails(t, "", "must be logged in", "get", "pods", ns)
}

func kubectlDelete(t *testing.T, k *kubectl) {
	ns := namespace(t, k, "delete")
	k.ok(t, "create", "-f", nginxUnbound, ns)
	wantIs(t, k.ok(t, "delete", "-f", nginxUnbound, ns), `pod "nginx-unbound" deleted from delete namespace`)
	k.fails(t, "", `pods "nginx-unbound" not found`, "delete", "pod", "nginx-unbound", ns)
	k.ok(t, "delete", "pod", "nginx-unbound", "--ignore-not-found", ns)
	for _, name := range []string{"a", "b", "c"} {
		k.ok(t, "create", "secret", "generic", name, ns)
	}
	k.ok(t, "delete", "secrets", "--all", ns)
	wantIs(t, k.ok(t, "get", "secrets", "-o", "name", ns), "")
}

// TestAnonymous: without credentials, TLS gives access to nothing, and plain HTTP
// exists only if configured.
func TestAnonymous(t *testing.T) {
	p, server := startServer(t, controlplane.Config{})
	if u := server.InsecureURL(); u != "" {
		t.Errorf("plain HTTP at %s", u)
	}
	stranger := p.kubectl(t).withCredentials(t, clientcmdapi.AuthInfo{Username: "admin", Password: "admin"})
	stranger.fails(t, "", "Unauthorized", "get", "--raw", "/api/v1/nodes")
	stranger.fails(t, "", "must be logged in", "get", "nodes")
}
