// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// process is this binary running a program.
type process struct {
	*exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// startProcess runs a program, and kills it at the end of the test.
func startProcess(t *testing.T, name string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), self, args...)}
	p.Args[0] = name
	p.Stderr = &p.stderr
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	// If this process is killed, the end of stdin ends the other one.
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

func (p *process) readLine(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		_ = p.Wait()
		t.Fatalf("%s: %v\n%s", p.Args[0], err, &p.stderr)
	}
	return strings.TrimSpace(line)
}

// holdMain runs a control plane on the given directory, creates a pod, prints its UID,
// and waits until stdin ends.
func holdMain(args []string) error {
	ctx := context.Background()
	server, err := controlplane.Start(ctx, controlplane.Config{DataDir: args[0]})
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(server.ClientConfig())
	if err != nil {
		return err
	}
	pod, err := client.CoreV1().Pods("default").Create(ctx, newPod("acknowledged"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	fmt.Println(pod.UID)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}
