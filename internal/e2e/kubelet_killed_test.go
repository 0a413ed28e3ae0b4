// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestKubeletVanishes kills a kubelet while kubectl is connected to it. kubectl ends,
// and nothing else is affected.
func TestKubeletVanishes(t *testing.T) {
	p, _ := startServer(t, controlplane.Config{})
	k, client := p.kubectl(t), p.client(t)
	w := startWorker(t, p, "worker1")
	waitServing(t, w)
	bystander := startWorker(t, p, "worker2")
	waitServing(t, bystander)
	for _, name := range []string{"worker1", "worker2"} {
		k.ok(t, "run", "on-"+name, "--image=nginx:latest", `--overrides={"spec":{"nodeName":"`+name+`"}}`)
		waitPod(t, client, "on-"+name, running)
	}
	spdy := *k
	spdy.env = []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"}

	exec := startExec(t, k)
	execSPDY := startExec(t, &spdy)
	logs := startKubectl(t, k, "logs", "-f", "on-worker1")
	testwait.Until(t, "a line of the log", func(context.Context) error {
		return unless(logs.out.String() == "started\n", logs.out)
	})
	attach := startKubectl(t, k, "attach", "on-worker1")
	testwait.Until(t, "a line of the program", func(context.Context) error {
		k.ok(t, "exec", "on-worker1", "--", "print", "line")
		return unless(strings.Contains(attach.out.String(), "line\n"), attach.out)
	})

	w.kill(t)
	for what, process := range map[string]*process{"exec": exec, "attach": attach, "exec over SPDY": execSPDY, "logs -f": logs} {
		process.wait(t)
		// Over SPDY and for logs, kubectl takes the end of the connection for the end
		// of the command.
		code := process.cmd.ProcessState.ExitCode()
		if (what == "exec" || what == "attach") && (code != 1 || !strings.Contains(process.out.String(), "\nerror: ")) {
			t.Errorf("%s ends with exit code %d: %s", what, code, process.out)
		}
	}
	for _, args := range [][]string{{"logs", "on-worker1"}, {"exec", "on-worker1", "--", "echo"}, {"get", "--raw", "/api/v1/nodes/worker1/proxy/healthz"}} {
		k.fails(t, "", "connection refused", args...)
	}
	want(t, k.ok(t, "get", "--raw", "/readyz?verbose"), "readyz check passed")
	wantIs(t, k.ok(t, "exec", "on-worker2", "--", "echo", "still here"), "still here")

	w.start(t)
	waitServing(t, w)
	testwait.Until(t, "the container again", func(context.Context) error {
		r := k.run(t, "", "exec", "on-worker1", "--", "echo", "back")
		return unless(r.code == 0, r)
	})
}

// startExec runs cat in the pod on worker1, and waits for its echo.
func startExec(t *testing.T, k *kubectl) *process {
	t.Helper()
	exec := startKubectl(t, k, "exec", "-i", "on-worker1", "--", "cat")
	if _, err := io.WriteString(exec.stdin, "hello\n"); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "an echo", func(context.Context) error {
		return unless(exec.out.String() == "hello\n", exec.out)
	})
	return exec
}
