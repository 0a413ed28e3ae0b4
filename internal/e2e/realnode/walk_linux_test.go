// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/testwait"
)

// The manifests of the walk.
const (
	nginxWorker1 = "../../../testdata/seed/nginx-worker1.yaml"
	nginxWorker2 = "../../../testdata/seed/nginx-worker2.yaml"
	nginxUnbound = "../../../testdata/seed/nginx-unbound.yaml"
)

// TestSeedWalk follows "Ein Blick hinter die Kulissen von Kubernetes (Teil 2)", with
// one join file for all workers instead of plain HTTP.
func TestSeedWalk(t *testing.T) {
	prerequisites(t)
	keepSysctls(t)
	dir := newDir(t)
	images := buildImages(t, dir)
	m := newMaster(t, dir)
	t.Cleanup(func() { m.diagnose(t) })
	join := m.joinFile(t)

	worker1 := newWorker(t, m.machine, 1, images)
	step(t, "worker1 joins", func(t *testing.T) { m.joins(t, worker1, join) })
	step(t, "nodes by REST and kubectl", func(t *testing.T) { m.wantNodes(t, "worker1") })
	step(t, "a pod for worker1 runs there", func(t *testing.T) {
		wantIs(t, m.apply(t, nginxWorker1), "pod/nginx created")
		m.waitReady(t, "pod/nginx")
		m.wantPod(t, "nginx", "worker1", "10.87.1.")
		m.wantPage(t, "http://"+m.podIP(t, "nginx")+"/")
		m.wantTasks(t, worker1, 2)
	})
	step(t, "looking into a pod", func(t *testing.T) {
		t.Run("logs", m.testLogs)
		t.Run("exec", m.testExec)
		t.Run("attach", m.testAttach)
		t.Run("cp", m.testCopy)
		t.Run("port-forward", m.testPortForward)
		t.Run("proxy", m.testProxy)
		t.Run("exec over SPDY", m.withSPDY().testExec)
		t.Run("attach over SPDY", m.withSPDY().testAttach)
		t.Run("port-forward over SPDY", m.withSPDY().testPortForward)
	})
	step(t, "volumes", m.testVolumes)
	step(t, "the kubelet asks the master who may", func(t *testing.T) { m.testKubeletAuth(t, worker1) })
	step(t, "a pod for no node stays pending", func(t *testing.T) {
		wantIs(t, m.apply(t, nginxUnbound), "pod/nginx-unbound created")
		// A later pod with a node runs, so the earlier one is not just slow.
		m.kubectl(t, "run", "later", "--image=nginx:latest", "--image-pull-policy=Never", `--overrides={"spec":{"nodeName":"worker1"}}`)
		m.waitReady(t, "pod/later")
		wantIs(t, m.kubectl(t, "get", "pod", "nginx-unbound", "-o", "jsonpath={.status.phase},{.spec.nodeName},{.status.podIP}"), "Pending,,")
		m.kubectl(t, "delete", "pod", "later", "nginx-unbound")
	})

	worker2 := newWorker(t, m.machine, 2, images)
	step(t, "worker2 joins with the same file", func(t *testing.T) {
		m.joins(t, worker2, join)
		m.wantNodes(t, "worker1", "worker2")
	})
	step(t, "a pod outlives its kubelet", func(t *testing.T) { m.testKubeletRestart(t, worker1) })
	step(t, "the pod moves to worker2", func(t *testing.T) {
		// As in the blog post, with the file for worker2: kubectl delete uses only the
		// name.
		wantIs(t, m.kubectl(t, "delete", "-f", absolute(t, nginxWorker2)), `pod "nginx" deleted from default namespace`)
		m.wantTasks(t, worker1, 0)
		wantIs(t, m.apply(t, nginxWorker2), "pod/nginx created")
		m.waitReady(t, "pod/nginx")
		m.wantPod(t, "nginx", "worker2", "10.87.2.")
		m.wantPage(t, "http://"+m.podIP(t, "nginx")+"/")
		m.waitLog(t, "GET /\n")
		m.wantTasks(t, worker1, 0)
		m.wantTasks(t, worker2, 2)
	})
	step(t, "the pod is deleted", func(t *testing.T) {
		m.kubectl(t, "delete", "-f", absolute(t, nginxWorker2))
		m.wantTasks(t, worker2, 0)
		wantIs(t, m.kubectl(t, "get", "pods", "-o", "name"), "")
	})
	step(t, "the master ends", m.end)
}

// step runs a step of a walk. If it fails, the walk ends.
func step(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	if !t.Run(name, f) {
		t.FailNow()
	}
}

// joins joins a worker, and waits until its kubelet answers.
func (m *master) joins(t *testing.T, w *worker, file []byte) {
	t.Helper()
	w.setUp(t, m.text, file, m.bin)
	w.startKubelet()
	m.waitReady(t, "node/"+w.name)
	// A node is ready before its kubelet has a serving certificate.
	testwait.Until(t, "/healthz of the kubelet", func(context.Context) error {
		if r := m.tryKubectl(t, "", "get", "--raw", "/api/v1/nodes/"+w.name+"/proxy/healthz"); r.code != 0 || r.stdout != "ok" {
			return fmt.Errorf("%s", r)
		}
		return nil
	})

	requests := m.kubectl(t, "get", "certificatesigningrequests", "-o",
		`jsonpath={range .items[*]}{.spec.signerName} {.spec.username} {.status.conditions[*].type}{"\n"}{end}`)
	node := "system:node:" + w.name
	want(t, requests, "kubernetes.io/kubelet-serving "+node+" Approved")
	if !regexp.MustCompile(`(?m)^kubernetes.io/kube-apiserver-client-kubelet system:bootstrap:[a-z0-9]{6} Approved$`).MatchString(requests) {
		t.Errorf("got %q, want a request by the token of the join file", requests)
	}
	const pki = "/var/lib/kubelet/pki/"
	for file, usage := range map[string]x509.ExtKeyUsage{
		"kubelet-client-current.pem": x509.ExtKeyUsageClientAuth,
		"kubelet-server-current.pem": x509.ExtKeyUsageServerAuth,
	} {
		cert := firstCertificate(t, w.ok(t, "cat", pki+file))
		if cert.Subject.CommonName != node || !slices.Equal(cert.Subject.Organization, []string{"system:nodes"}) || !slices.Contains(cert.ExtKeyUsage, usage) {
			t.Errorf("%s is for %v, to be used for %v", file, cert.Subject, cert.ExtKeyUsage)
		}
	}
	if files := w.ok(t, "ls", pki); strings.Contains(files, "kubelet.crt") {
		t.Errorf("the kubelet made a serving certificate itself: %s", files)
	}
}

// firstCertificate returns the first certificate in PEM.
func firstCertificate(t *testing.T, data string) *x509.Certificate {
	t.Helper()
	for block, rest := pem.Decode([]byte(data)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	t.Fatal("no certificate")
	return nil
}

// wantNodes requires exactly these nodes, all Ready.
func (m *master) wantNodes(t *testing.T, names ...string) {
	t.Helper()
	out := m.kubectl(t, "get", "nodes", "--no-headers")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(names) {
		t.Fatalf("got\n%swant %v", out, names)
	}
	for i, line := range lines {
		if f := strings.Fields(line); len(f) != 5 || f[0] != names[i] || f[1] != "Ready" || f[4] != m.version {
			t.Errorf("got %q, want %s, Ready, %s", line, names[i], m.version)
		}
	}
	r := m.get(t, m.insecureURL+"/api/v1/nodes")
	status, body, _ := strings.Cut(r.stdout, "\n")
	var list struct {
		Kind  string
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != "200" || list.Kind != "NodeList" || len(list.Items) != len(names) {
		t.Errorf("got %s\n%v", r, err)
	}
}

// wantPod requires a running pod on a node, with an address of the node's range.
func (m *master) wantPod(t *testing.T, name, node, addresses string) {
	t.Helper()
	row := strings.Fields(m.kubectl(t, "get", "pod", name, "-o", "wide", "--no-headers"))
	if len(row) != 9 || !slices.Equal(row[:4], []string{name, "1/1", "Running", "0"}) || !strings.HasPrefix(row[5], addresses) || row[6] != node {
		t.Errorf("got %q, want pod %s on %s at %s…", row, name, node, addresses)
	}
}

func (m *master) podIP(t *testing.T, name string) string {
	t.Helper()
	return m.kubectl(t, "get", "pod", name, "-o", "jsonpath={.status.podIP}")
}

// wantPage waits for the page of nginx.
func (m *master) wantPage(t *testing.T, url string) {
	t.Helper()
	testwait.Until(t, url, func(context.Context) error {
		if r := m.get(t, url); r.stdout != "200\nWelcome to nginx! This is nginx.\n" {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
}

// wantTasks waits for the number of running tasks of containerd. A sandbox is one.
func (m *master) wantTasks(t *testing.T, w *worker, count int) {
	t.Helper()
	testwait.Until(t, "the containers of "+w.name, func(context.Context) error {
		if tasks := w.tasks(t); len(tasks) != count {
			return fmt.Errorf("on %s run %d containers, want %d: %v", w.name, len(tasks), count, tasks)
		}
		return nil
	})
}

// diagnose logs the state of the cluster if the test has failed.
func (m *master) diagnose(t *testing.T) {
	if !t.Failed() {
		return
	}
	select {
	case <-m.process.done:
		return
	default:
	}
	for _, what := range []string{"certificatesigningrequests", "nodes", "pods", "events"} {
		c := m.kubectlCommand("get", what, "--all-namespaces", "-o", "wide")
		out := newOutput()
		c.Stdout, c.Stderr = out, out
		if err := m.start(c, allOfIt); err == nil {
			_ = c.Wait()
			t.Logf("%s:\n%s", what, out.tail(40))
		}
	}
}
