// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestWalk follows the printed text.
func TestWalk(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	m := start(t, "--insecure-bind-address=127.0.0.1:0", "--data-dir="+dataDir)

	for _, name := range []string{"admin.kubeconfig", "join.kubeconfig"} {
		info, err := os.Stat(filepath.Join(m.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != fs.FileMode(0o600) {
			t.Errorf("%s: mode %v", info.Name(), info.Mode())
		}
	}

	// The insecure address needs no credentials.
	insecure := m.find(t, `curl (\S+) \| jq`)
	response, err := http.Get(insecure)
	if err != nil {
		t.Fatal(err)
	}
	var nodes corev1.NodeList
	err = json.NewDecoder(response.Body).Decode(&nodes)
	if response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if nodes.Kind != "NodeList" || nodes.APIVersion != "v1" || nodes.ResourceVersion == "" {
		t.Errorf("%s: %+v", insecure, nodes)
	}

	// The administrator deploys the manifests of the text, see TestManifestsOfTheText.
	admin, adminConfig := m.client(t, "admin.kubeconfig")
	for _, pod := range []corev1.Pod{seed(t, "worker1"), seed(t, "unbound")} {
		if _, err := admin.CoreV1().Pods("default").Create(t.Context(), &pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// This watch stays open. The end of the master must not wait for it.
	watch, err := admin.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=worker1"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	event := <-watch.ResultChan()
	if pod, ok := event.Object.(*corev1.Pod); !ok || pod.Name != "nginx" {
		t.Errorf("worker1 would see %+v", event)
	}

	m.end(t)
	if want := "The data is kept in " + dataDir; !strings.Contains(m.stdout.String(), want) {
		t.Errorf("%q is missing", want)
	}
	for _, address := range []string{adminConfig.Host, insecure} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := net.Dial("tcp", u.Host); err == nil {
			conn.Close()
			t.Errorf("%s is still open", address)
		}
	}

	// The next start has the data.
	m = start(t, "--data-dir="+dataDir)
	admin, _ = m.client(t, "admin.kubeconfig")
	if _, err := admin.CoreV1().Pods("default").Get(t.Context(), "nginx", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if text := m.stdout.String(); strings.Contains(text, "curl") {
		t.Errorf("curl without an insecure address:\n%s", text)
	}
}

// TestManifestsOfTheText runs the printed commands for manifests, and gets the
// manifests of the walk. The text names no file of the clone. README.md has the same
// commands.
func TestManifestsOfTheText(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh here:", err)
	}
	m := start(t)
	file := m.find(t, `(?m)((?s)^cat > nginx.yaml .*?^EOF\n)`)
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), file) {
		t.Errorf("README.md does not have this:\n%s", file)
	}
	if text := m.stdout.String(); strings.Contains(text, "testdata") {
		t.Errorf("a file of the clone:\n%s", text)
	}
	for name, command := range map[string]string{
		"worker1": "cat nginx.yaml",
		"worker2": m.find(t, `(sed \S+worker2\S+ nginx.yaml) \| kubectl .* apply -f -`),
		"unbound": m.find(t, `(sed .*nodeName.* nginx.yaml) \| kubectl .* apply -f -`),
	} {
		typed := exec.CommandContext(t.Context(), sh, "-eu", "-c", file+command)
		typed.Dir = t.TempDir()
		out, err := typed.Output()
		if err != nil {
			t.Fatal(err)
		}
		var got corev1.Pod
		if err := yaml.UnmarshalStrict(out, &got); err != nil {
			t.Fatal(err)
		}
		if want := seed(t, name); !reflect.DeepEqual(got, want) {
			t.Errorf("manifest %s: got\n%s\nwant the seed's", name, out)
		}
	}
}

// seed returns a manifest of the walk.
func seed(t *testing.T, name string) (pod corev1.Pod) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "seed", "nginx-"+name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, &pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestWithoutDataDirNothingIsKept(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	m := start(t)
	m.end(t)
	if !strings.Contains(m.stdout.String(), "The data was discarded") {
		t.Errorf("the text does not report that the data was discarded:\n%s", m.stdout)
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		// t.TempDir of start is in TMPDIR too.
		if strings.HasPrefix(entry.Name(), "kubembed-") {
			t.Errorf("%s is left", entry.Name())
		}
	}
}
