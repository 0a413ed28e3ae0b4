// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// The manifests of the walk.
var (
	nginxWorker1 = filepath.Join("..", "..", "testdata", "seed", "nginx-worker1.yaml")
	nginxWorker2 = filepath.Join("..", "..", "testdata", "seed", "nginx-worker2.yaml")
	nginxUnbound = filepath.Join("..", "..", "testdata", "seed", "nginx-unbound.yaml")
)

// TestSeedWalk follows "Ein Blick hinter die Kulissen von Kubernetes (Teil 2)": a
// master, workers that join it one after another, and pods that the administrator binds
// to them by spec.nodeName, because no scheduler runs.
func TestSeedWalk(t *testing.T) {
	log, logger := newJournal()
	p, server := startServer(t, controlplane.Config{DataDir: t.TempDir(), InsecureAddr: "127.0.0.1:0", Logger: logger})
	k := p.kubectl(t)
	var worker1, worker2 *worker

	step(t, "no nodes yet", func(t *testing.T) {
		r := k.run(t, "", "get", "nodes")
		if r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, "No resources found") {
			t.Fatalf("%sexit code %d", r, r.code)
		}
	})

	worker1 = startWorker(t, p, "worker1")
	step(t, "worker1 joins", func(t *testing.T) {
		k.ok(t, "wait", "--for=create", "node/worker1", "--timeout=120s")
		k.ok(t, "wait", "--for=condition=Ready", "node/worker1", "--timeout=120s")
	})

	step(t, "curl lists the nodes without credentials", func(t *testing.T) {
		var list corev1.NodeList
		get(t, server.InsecureURL()+"/api/v1/nodes", &list)
		if list.Kind != "NodeList" || list.APIVersion != "v1" || list.ResourceVersion == "" {
			t.Errorf("got kind %q, version %q, resourceVersion %q", list.Kind, list.APIVersion, list.ResourceVersion)
		}
		if len(list.Items) != 1 || list.Items[0].Name != "worker1" {
			t.Errorf("got %v, want worker1", list.Items)
		}
	})

	step(t, "kubectl lists the nodes", func(t *testing.T) {
		wantNodes(t, k, "worker1")
	})

	step(t, "a pod for worker1 runs there", func(t *testing.T) {
		wantIs(t, k.ok(t, "apply", "-f", nginxWorker1), "pod/nginx created")
		k.ok(t, "wait", "--for=jsonpath={.status.phase}=Running", "pod/nginx", "--timeout=120s")
		wantPod(t, k, "nginx", "worker1")
		wantContainers(t, worker1, "nginx/nginx")
	})

	step(t, "a pod for no node stays pending", func(t *testing.T) {
		wantIs(t, k.ok(t, "apply", "-f", nginxUnbound), "pod/nginx-unbound created")
		// A later pod runs, so worker1 had the time to run the earlier one.
		k.ok(t, "run", "later", "--image=nginx:latest", `--overrides={"spec":{"nodeName":"worker1"}}`)
		k.ok(t, "wait", "--for=jsonpath={.status.phase}=Running", "pod/later", "--timeout=120s")
		wantIs(t, k.ok(t, "get", "pod", "nginx-unbound", "-o", "jsonpath={.status.phase},{.spec.nodeName},{.status.podIP}"), "Pending,,")
		row := podRow(t, k, "nginx-unbound")
		if row["STATUS"] != "Pending" || row["NODE"] != "<none>" || row["IP"] != "<none>" || row["READY"] != "0/1" {
			t.Errorf("got %v", row)
		}
		wantContainers(t, worker1, "later/later", "nginx/nginx")
		k.ok(t, "delete", "pod", "later", "nginx-unbound")
	})

	worker2 = startWorker(t, p, "worker2")
	step(t, "worker2 joins", func(t *testing.T) {
		k.ok(t, "wait", "--for=create", "node/worker2", "--timeout=120s")
		k.ok(t, "wait", "--for=condition=Ready", "node/worker2", "--timeout=120s")
		wantNodes(t, k, "worker1", "worker2")
	})

	step(t, "the pod moves to worker2", func(t *testing.T) {
		// As in the blog post, with the file for worker2: kubectl delete uses only the
		// name.
		wantIs(t, k.ok(t, "delete", "-f", nginxWorker2), `pod "nginx" deleted from default namespace`)
		wantContainers(t, worker1)
		wantIs(t, k.ok(t, "apply", "-f", nginxWorker2), "pod/nginx created")
		k.ok(t, "wait", "--for=jsonpath={.status.phase}=Running", "pod/nginx", "--timeout=120s")
		wantPod(t, k, "nginx", "worker2")
		wantContainers(t, worker1)
		wantContainers(t, worker2, "nginx/nginx")
	})

	step(t, "a change of nodeName alone is refused", func(t *testing.T) {
		k.fails(t, "", "pod updates may not change fields other than", "apply", "-f", nginxWorker1)
	})

	step(t, "the workers report their pods", func(t *testing.T) {
		if !postsEvents() {
			t.Skip("kubelets post no events: /dev/kmsg cannot be read")
		}
		out := k.ok(t, "get", "events", "--field-selector=involvedObject.name=nginx", "-o",
			`jsonpath={range .items[*]}{.reason} {.source.host}{"\n"}{end}`)
		want(t, out, "Pulled worker1", "Started worker1", "Killing worker1", "Started worker2")
	})

	step(t, "the pod is deleted", func(t *testing.T) {
		wantIs(t, k.ok(t, "delete", "-f", nginxWorker2), `pod "nginx" deleted from default namespace`)
		r := k.run(t, "", "get", "pods")
		if r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, "No resources found") {
			t.Errorf("%sexit code %d", r, r.code)
		}
		wantContainers(t, worker1)
		wantContainers(t, worker2)
	})

	step(t, "the operator has nothing to do", func(t *testing.T) {
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		log.save(t)
		log.wantNoWarnings(t, "INSECURE")
		for _, node := range []string{"worker1", "worker2"} {
			log.wantLine(t, "node joined", map[string]string{"node": node})
			log.wantLine(t, "certificate signed", map[string]string{"user": "system:node:" + node})
		}
	})
}

// step runs a step of a walk. If it fails, the walk ends.
func step(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	if !t.Run(name, f) {
		t.FailNow()
	}
}

// get reads JSON from a URL without credentials.
func get(t *testing.T, url string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true // leave no idle connection
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// wantNodes requires exactly these nodes in "kubectl get nodes", all Ready.
func wantNodes(t *testing.T, k *kubectl, names ...string) {
	t.Helper()
	out := k.ok(t, "get", "nodes")
	rows := table(t, out)
	if len(rows) != len(names) {
		t.Fatalf("got\n%swant %v", out, names)
	}
	for i, row := range rows {
		if row["NAME"] != names[i] || row["STATUS"] != "Ready" || row["ROLES"] != "<none>" || row["AGE"] == "" || row["VERSION"] != upstreamVersion {
			t.Errorf("got\n%swant %v, Ready, %s", out, names, upstreamVersion)
		}
	}
}

// wantPod requires a pod in "kubectl get pods -o wide" that runs on a node.
func wantPod(t *testing.T, k *kubectl, name, node string) {
	t.Helper()
	row := podRow(t, k, name)
	for column, cell := range map[string]string{
		"READY": "1/1", "STATUS": "Running", "RESTARTS": "0", "NODE": node,
		"NOMINATED NODE": "<none>", "READINESS GATES": "<none>",
	} {
		if row[column] != cell {
			t.Errorf("column %s of pod %s: got %q, want %q", column, name, row[column], cell)
		}
	}
	if row["IP"] == "" || row["IP"] == "<none>" {
		t.Errorf("pod %s has no IP: %v", name, row)
	}
}

// podRow returns the row of a pod in "kubectl get pods -o wide".
func podRow(t *testing.T, k *kubectl, name string) map[string]string {
	t.Helper()
	out := k.ok(t, "get", "pods", "-o", "wide")
	for _, row := range table(t, out) {
		if row["NAME"] == name {
			return row
		}
	}
	t.Fatalf("no pod %s in\n%s", name, out)
	return nil
}

// wantContainers requires the running containers of a worker, independent of its
// control plane.
func wantContainers(t *testing.T, w *worker, names ...string) {
	t.Helper()
	got := strings.Join(w.containers(t), " ")
	if all := strings.Join(names, " "); got != all {
		t.Errorf("on %s run [%s], want [%s]", w.name, got, all)
	}
}
