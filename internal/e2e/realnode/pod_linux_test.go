// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/testwait"
)

// waitLog follows the log of nginx until it contains words. The output of a container
// appears there with a delay.
func (m *master) waitLog(t *testing.T, words string) {
	t.Helper()
	m.spawn(t, m.kubectlCommand("logs", "--follow", "nginx")).waitFor(t, words)
}

func (m *master) testLogs(t *testing.T) {
	m.waitLog(t, "GET /\n")
	wantIs(t, m.kubectl(t, "logs", "nginx"), "ready\nGET /")
	wantIs(t, m.kubectl(t, "logs", "nginx", "--tail=1"), "GET /")

	follow := m.spawn(t, m.kubectlCommand("logs", "--follow", "nginx"))
	follow.waitFor(t, "ready\n")
	m.wantPage(t, "http://"+m.podIP(t, "nginx")+"/news")
	follow.waitFor(t, "GET /news\n")
}

func (m *master) testExec(t *testing.T) {
	wantIs(t, m.kubectl(t, "exec", "nginx", "--", "echo", "hello", "there"), "hello there")
	r := m.tryKubectl(t, "through and through", "exec", "-i", "nginx", "--", "cat")
	wantIs(t, r.stdout, "through and through")
	if r := m.tryKubectl(t, "", "exec", "nginx", "--", "exit", "3"); r.code != 3 {
		t.Errorf("%s, want 3", r)
	}
	if r := m.tryKubectl(t, "", "exec", "nginx", "--", "winsize"); r.code != 1 || !strings.Contains(r.stderr, "stdin is not a terminal") {
		t.Errorf("without -t: %s", r)
	}

	user, program := terminal(t)
	c := m.kubectlCommand("exec", "-it", "nginx", "--", "winsize")
	c.Stdin, c.Stdout, c.Stderr = program, program, program
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	tty := m.spawn(t, c)
	_ = program.Close() // so that reading ends with kubectl
	timeout := time.AfterFunc(commandTimeout, func() { _ = c.Process.Kill() })
	defer timeout.Stop()
	line, err := bufio.NewReader(user).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "40 100" {
		t.Errorf("with a terminal of 40 rows and 100 columns: got %q, %v", line, err)
	}
	<-tty.done
	if code := c.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func (m *master) testAttach(t *testing.T) {
	r := m.tryKubectl(t, "said to a container", "run", "parrot", "-i", "--quiet", "--rm", "--restart=Never",
		"--image=nginx:latest", "--image-pull-policy=Never", `--overrides={"spec":{"nodeName":"worker1"}}`, "--command", "--", "cat")
	want(t, r.stdout, "said to a container")
	if r.code != 0 {
		t.Error(r)
	}
}

func (m *master) testCopy(t *testing.T) {
	there := m.write(t, "letter", "from here to there")
	m.kubectl(t, "cp", there, "nginx:/tmp/letter")
	wantIs(t, m.kubectl(t, "exec", "nginx", "--", "cat", "/tmp/letter"), "from here to there")
	back := filepath.Join(m.dir, "answer")
	m.kubectl(t, "cp", "nginx:/tmp/letter", back)
	content, err := os.ReadFile(back)
	if err != nil || string(content) != "from here to there" {
		t.Errorf("got %q, %v", content, err)
	}
}

func (m *master) testPortForward(t *testing.T) {
	forward := m.spawn(t, m.kubectlCommand("port-forward", "pod/nginx", ":80"))
	out := forward.waitFor(t, " -> 80\n")
	m.wantPage(t, "http://"+regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(out)+"/forwarded")
	m.waitLog(t, "GET /forwarded\n")
}

func (m *master) testProxy(t *testing.T) {
	want(t, m.kubectl(t, "get", "--raw", "/api/v1/nodes/worker1/proxy/pods"), `"kind":"PodList"`, `"name":"nginx"`)
	wantIs(t, m.kubectl(t, "get", "--raw", "/api/v1/namespaces/default/pods/nginx/proxy/"), "Welcome to nginx! This is nginx.")
	want(t, m.kubectl(t, "get", "--raw", "/api/v1/nodes/worker1/proxy/stats/summary"), `"nodeName": "worker1"`)
}

func (m *master) testVolumes(t *testing.T) {
	m.apply(t, "testdata/volumes.yaml")
	m.waitReady(t, "pod/reader")
	wantIs(t, m.kubectl(t, "exec", "reader", "--", "cat", "/password/password"), "sesame")
	wantIs(t, m.kubectl(t, "exec", "reader", "--", "cat", "/token/name"), "reader")
	token := m.kubectl(t, "exec", "reader", "--", "cat", "/token/token")
	config := m.write(t, "robot.kubeconfig", string(m.joinFile(t)))
	m.ok(t, m.kubectlPath, "--kubeconfig="+config, "config", "unset", "users")
	who := m.ok(t, m.kubectlPath, "--kubeconfig="+config, "--token="+token, "auth", "whoami")
	want(t, who, "system:serviceaccount:default:robot", "reader", "worker1")
	m.kubectl(t, "delete", "pod", "reader")
}

// testKubeletAuth sends requests to a kubelet without the API server.
func (m *master) testKubeletAuth(t *testing.T, w *worker) {
	m.kubectl(t, "create", "serviceaccount", "operator")
	m.kubectl(t, "create", "clusterrolebinding", "operator", "--clusterrole=system:kubelet-api-admin", "--serviceaccount=default:operator")
	for who, status := range map[string]string{"": "401", "robot": "403", "operator": "200"} {
		args := []string{"-ca=" + m.kubeletCA()}
		if who != "" {
			args = append(args, "-token="+strings.TrimSpace(m.kubectl(t, "create", "token", who)))
		}
		r := m.get(t, append(args, "https://"+w.address+":10250/pods")...)
		if got, _, _ := strings.Cut(r.stdout, "\n"); got != status {
			t.Errorf("%q gets %s, want %s", who, r, status)
		}
	}
}

// testKubeletRestart kills the kubelet of a worker, and starts it again after its join
// file has become invalid.
func (m *master) testKubeletRestart(t *testing.T, w *worker) {
	secret := m.kubectl(t, "-n", "kube-system", "get", "secrets", "--field-selector=type=bootstrap.kubernetes.io/token", "-o", "name")
	m.kubectl(t, "-n", "kube-system", "delete", strings.TrimSpace(secret))
	requests := m.kubectl(t, "get", "certificatesigningrequests", "-o", "name")
	const container = "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.podIP}"
	before, tasks := m.kubectl(t, "get", "pod", "nginx", "-o", container), w.tasks(t)

	w.kubelet.end(t, os.Kill)
	m.wantPage(t, "http://"+m.podIP(t, "nginx")+"/")
	if r := m.tryKubectl(t, "", "logs", "nginx"); r.code == 0 || !strings.Contains(r.stderr, "connection refused") {
		t.Errorf("logs without a kubelet: %s", r)
	}

	w.startKubelet()
	testwait.Until(t, "exec works again", func(context.Context) error {
		if r := m.tryKubectl(t, "", "exec", "nginx", "--", "echo", "back"); r.code != 0 {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	// When the next pod runs, the kubelet has processed the earlier ones.
	m.kubectl(t, "run", "next", "--image=nginx:latest", "--image-pull-policy=Never", `--overrides={"spec":{"nodeName":"worker1"}}`)
	m.waitReady(t, "pod/next")
	m.kubectl(t, "delete", "pod", "next")
	m.waitReady(t, "node/"+w.name)
	m.wantTasks(t, w, len(tasks))
	wantIs(t, strings.Join(w.tasks(t), " "), strings.Join(tasks, " "))
	wantIs(t, m.kubectl(t, "get", "pod", "nginx", "-o", container), before)
	wantIs(t, m.kubectl(t, "get", "certificatesigningrequests", "-o", "name"), strings.TrimSpace(requests))
}
