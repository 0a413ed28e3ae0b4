// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestStreams uses the API of a kubelet through the control plane, with each protocol
// of kubectl.
func TestStreams(t *testing.T) {
	log, logger := newJournal()
	p, _ := startServer(t, controlplane.Config{Logger: logger})
	client := p.client(t)
	w := startWorker(t, p, "worker1")
	waitServing(t, w)
	defer log.wantNoWarnings(t) // terminals are ordinary use
	for _, protocol := range []struct{ name, websockets string }{{"WebSocket", "true"}, {"SPDY", "false"}} {
		t.Run(protocol.name, func(t *testing.T) {
			k := p.kubectl(t)
			k.env = []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + protocol.websockets, "KUBECTL_PORT_FORWARD_WEBSOCKETS=" + protocol.websockets}
			pod := strings.ToLower(protocol.name)
			k.ok(t, "run", pod, "--image=nginx:latest", "--restart=Never", `--overrides={"spec":{"nodeName":"worker1"}}`)
			waitPod(t, client, pod, running)
			for _, test := range []struct {
				name string
				run  func(t *testing.T, k *kubectl, pod string)
			}{
				{"logs", streamLogs},
				{"exec", streamExec},
				{"exec in a terminal", streamTerminal},
				{"attach", streamAttach},
				{"cp", streamCopy},
				{"port-forward", streamPortForward},
				{"node proxy", streamNodeProxy},
				{"logs -f", streamFollow},
			} {
				t.Run(test.name, func(t *testing.T) { test.run(t, k, pod) })
			}
			waitPod(t, client, pod, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
		})
	}
}

func streamLogs(t *testing.T, k *kubectl, pod string) {
	wantIs(t, k.ok(t, "logs", pod), "started")
	k.ok(t, "exec", pod, "--", "print", "one more")
	wantIs(t, k.ok(t, "logs", pod), "started\none more")
	wantIs(t, k.ok(t, "logs", pod, "--tail=1"), "one more")
	want(t, k.ok(t, "logs", pod, "--timestamps"), time.Now().UTC().Format("2006-"))
	k.fails(t, "", "previous terminated container", "logs", pod, "--previous")
	k.fails(t, "", "container nonsense is not valid", "logs", pod, "-c", "nonsense")
}

func streamExec(t *testing.T, k *kubectl, pod string) {
	wantIs(t, k.ok(t, "exec", pod, "--", "echo", "hello", "there"), "hello there")
	wantIs(t, k.okStdin(t, "through and through", "exec", "-i", pod, "--", "cat"), "through and through")
	for _, code := range []int{1, 3, 137} {
		r := k.run(t, "", "exec", pod, "--", "sh", "-c", fmt.Sprintf("echo out; echo err >&2; exit %d", code))
		if r.code != code || r.stdout != "out\n" || !strings.HasPrefix(r.stderr, "err\n") {
			t.Errorf("%sexit code %d, want %d", r, r.code, code)
		}
	}
	// More than the buffers on the way hold.
	if out := k.ok(t, "exec", pod, "--", "sh", "-c", "head -c 10000000 /dev/zero | tr '\\0' x"); out != strings.Repeat("x", 10_000_000) {
		t.Errorf("got %d bytes", len(out))
	}
	k.fails(t, "", `exec: "nonsense"`, "exec", pod, "--", "nonsense")
}

// streamTerminal is a user at a terminal who enlarges the window.
func streamTerminal(t *testing.T, k *kubectl, pod string) {
	user, program, err := openTerminal()
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	if err := setSize(user, 24, 80); err != nil {
		t.Fatal(err)
	}
	c := k.command(t, "exec", "-it", pod, "--", "sh")
	c.Stdin, c.Stdout, c.Stderr = program, program, program
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = c.Start()
	_ = program.Close()
	if err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer timeout.Stop()
	screen := &tail{limit: 64 << 10}
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = io.Copy(screen, user) }) // ends with kubectl
	enter := func(line, shows string) {
		t.Helper()
		testwait.Until(t, shows, func(context.Context) error {
			if _, err := io.WriteString(user, line+"\n"); err != nil {
				return unless(false, err)
			}
			return unless(strings.Contains(screen.String(), shows), screen)
		})
	}
	enter("test -t 0 && echo 'this is a 'terminal", "this is a terminal")
	enter("stty size", "24 80\r\n")
	if err := setSize(user, 50, 132); err != nil {
		t.Fatal(err)
	}
	enter("stty size", "50 132\r\n")
	if _, err := io.WriteString(user, "exit 7\n"); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, want 7; on the screen:\n%s", code, screen)
	}
	reader.Wait()
	_ = user.Close()

	r := k.run(t, "", "exec", "-it", pod, "--", "sh", "-c", "test -t 0 || echo no terminal")
	if r.code != 0 || r.stdout != "no terminal\n" || !strings.Contains(r.stderr, "Unable to use a TTY") {
		t.Errorf("-t without a terminal: %sexit code %d", r, r.code)
	}
}

func streamAttach(t *testing.T, k *kubectl, pod string) {
	listener := startKubectl(t, k, "attach", pod)
	// The echo shows that it is attached.
	testwait.Until(t, "an echo", func(context.Context) error {
		k.okStdin(t, "to all\n", "attach", "-i", pod)
		return unless(strings.Contains(listener.out.String(), "to all"), listener.out)
	})
	wantIs(t, k.okStdin(t, "first\nsecond\n", "attach", "-i", pod), "first\nsecond")
	wantIs(t, k.ok(t, "logs", pod, "--tail=2"), "first\nsecond")
	testwait.Until(t, "what others write", func(context.Context) error {
		return unless(strings.Contains(listener.out.String(), "first\nsecond\n"), listener.out)
	})
	listener.kill(t)
}

func streamCopy(t *testing.T, k *kubectl, pod string) {
	dir := t.TempDir()
	content := strings.Repeat("0123456789\n", 100_000)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	k.ok(t, "cp", filepath.Join(dir, "file"), pod+":copy")
	wantIs(t, k.ok(t, "exec", pod, "--", "sh", "-c", "wc -c <copy"), fmt.Sprint(len(content)))
	k.ok(t, "cp", pod+":copy", filepath.Join(dir, "back"))
	if back := read(t, filepath.Join(dir, "back")); back != content {
		t.Errorf("got %d bytes back, want %d", len(back), len(content))
	}
	// Not the large file: kubectl may still be sending it when the answer comes, and
	// would miss the answer.
	if err := os.WriteFile(filepath.Join(dir, "small"), []byte("small"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.fails(t, "", "No such file or directory", "cp", filepath.Join(dir, "small"), pod+":missing/copy")
}

func streamPortForward(t *testing.T, k *kubectl, pod string) {
	forward := startKubectl(t, k, "port-forward", "pod/"+pod, ":80")
	var local string
	testwait.Until(t, "an address", func(context.Context) error {
		match := regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+) -> 80\n`).FindStringSubmatch(forward.out.String())
		if match != nil {
			local = match[1]
		}
		return unless(match != nil, forward.out)
	})
	// Several connections at once.
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			if err := echo(local, fmt.Sprintf("ping %d\n", i)); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if !forward.running() {
		t.Error("kubectl port-forward has ended by itself")
	}
	forward.kill(t)
}

// echo sends a line to an address and expects it back.
func echo(address, line string) error {
	conn, err := net.DialTimeout("tcp", address, time.Minute)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, line); err != nil {
		return err
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || got != line {
		return fmt.Errorf("sent %q, got %q, %v", line, got, err)
	}
	return nil
}

func streamNodeProxy(t *testing.T, k *kubectl, pod string) {
	wantIs(t, k.ok(t, "get", "--raw", "/api/v1/nodes/worker1/proxy/healthz"), "ok")
	want(t, k.ok(t, "get", "--raw", "/api/v1/nodes/worker1/proxy/pods"), `"kind":"PodList"`, `"name":"`+pod+`"`)
	want(t, k.ok(t, "get", "--raw", "/api/v1/nodes/worker1/proxy/metrics"), "kubelet_running_pods")
	want(t, k.ok(t, "get", "--raw", "/api/v1/nodes/worker1:10250/proxy/configz"), `"serverTLSBootstrap":true`)
}

// streamFollow follows a log to the end of the container.
func streamFollow(t *testing.T, k *kubectl, pod string) {
	follow := startKubectl(t, k, "logs", "-f", pod)
	for _, line := range []string{"this is new", "and this", "and the end"} {
		k.ok(t, "exec", pod, "--", "print", line)
		testwait.Until(t, line, func(context.Context) error {
			return unless(strings.HasSuffix(follow.out.String(), line+"\n"), follow.out)
		})
	}
	k.ok(t, "exec", pod, "--", "end")
	follow.wait(t)
	if code := follow.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, follow.out)
	}
	want(t, k.ok(t, "logs", pod), "and the end") // after the end of the container
}

// startKubectl runs a kubectl command until it is killed. Its out has stdout and
// stderr.
func startKubectl(t *testing.T, k *kubectl, args ...string) *process {
	t.Helper()
	return startCommand(t, k.command(t, args...), nil)
}
