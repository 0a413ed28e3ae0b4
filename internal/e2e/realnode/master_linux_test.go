// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

const (
	masterAddress = "10.87.0.1"
	bridge        = "workers"
)

// master is a machine with examples/master, and the kubectl of its administrator.
type master struct {
	*machine
	env         []string // of kubectl
	bin         string   // directory of the built programs
	kubectlPath string
	process     *process
	version     string // of Kubernetes
	text        string // the output of the master
	insecureURL string
}

// newMaster builds the programs of all machines and starts the master.
func newMaster(t *testing.T, dir string) *master {
	t.Helper()
	m := &master{machine: newMachine(t, dir, "master"), bin: filepath.Join(dir, "bin")}
	if err := os.Mkdir(m.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	// Release builds set the version in this variable.
	m.version = kubernetesVersion(t)
	stamp := "-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=" + m.version
	build(t, nil, m.bin, stamp, "k8s.io/kubernetes/cmd/kubelet")
	build(t, nil, m.bin, "-ldflags=-s -w", "../../../examples/master")
	if m.kubectlPath = *kubectl; m.kubectlPath == "" {
		build(t, nil, m.bin, stamp, "k8s.io/kubernetes/cmd/kubectl")
		m.kubectlPath = filepath.Join(m.bin, "kubectl")
	}

	m.ip(t, "link", "add", bridge, "type", "bridge")
	m.ip(t, "addr", "add", masterAddress+"/24", "dev", bridge)
	m.ip(t, "link", "set", bridge, "up")

	m.process = m.spawn(t, m.command(filepath.Join(m.bin, "master"),
		"--bind-address="+masterAddress, "--insecure-bind-address="+masterAddress, "--data-dir=data"))
	m.text = m.process.waitFor(t, "Press Ctrl-C to end it.\n")
	m.insecureURL = regexp.MustCompile(`http://\S+:\d+`).FindString(m.text)
	return m
}

// end stops the master like Ctrl-C.
func (m *master) end(t *testing.T) {
	t.Helper()
	m.process.end(t, syscall.SIGINT)
	out, _ := m.process.out.read()
	if code := m.process.cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(string(out), "Ended.") {
		t.Errorf("the master ended with code %d", code)
	}
}

// joinFile returns the file that an operator copies to the workers.
func (m *master) joinFile(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(m.dir, "join.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// kubeletCA returns the path of the file with which clients other than the API server
// verify kubelets.
func (m *master) kubeletCA() string {
	return filepath.Join(m.dir, "data", "pki", "kubelet-serving-ca.crt")
}

// kubernetesVersion returns the release in go.mod.
func kubernetesVersion(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f={{.Version}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
