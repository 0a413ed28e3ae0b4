// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestInChild runs in child processes.
func TestInChild(t *testing.T) {
	if _, child := children[filepath.Base(os.Args[0])]; !child {
		t.Skip("fails on purpose, in a process of its own")
	}
	t.Run("passes", func(*testing.T) {})
	t.Run("panics", func(t *testing.T) {
		// Meanwhile other tests have a control plane, or start one.
		others := make(chan string)
		t.Run("parallel", func(t *testing.T) {
			t.Run("other", func(t *testing.T) {
				t.Parallel()
				controlplanetest.New(t, controlplanetest.Config{})
				others <- "has one"
				select {}
			})
			t.Run("starting", func(t *testing.T) {
				t.Parallel()
				others <- "starts one"
				for {
					controlplanetest.New(t, controlplanetest.Config{})
				}
			})
			t.Run("panics", func(t *testing.T) {
				t.Parallel()
				controlplanetest.New(t, controlplanetest.Config{Audit: true})
				controlplanetest.Shared(t)
				<-others
				<-others
				panic("on purpose")
			})
		})
	})
	for _, name := range []string{"shared-1", "shared-2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			controlplanetest.Shared(t)
		})
	}
	inChild(t)
	t.Run("like-envtest", func(t *testing.T) {
		cp := controlplanetest.Shared(t)
		client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
		namespace := cp.Namespace(t)
		if names, err := namesIn(t.Context(), client, namespace); err != nil || len(names) > 0 {
			t.Errorf("a new namespace has %v: %v", names, err)
		}
		if pod, err := tryPod(t.Context(), client, namespace); err != nil || pod.Spec.ServiceAccountName != "" {
			t.Errorf("%v: %+v", err, pod.Spec)
		}
	})
	t.Run("fails", func(t *testing.T) {
		list(t, controlplanetest.Shared(t))
		t.Error("on purpose")
	})
}

func TestMainWithoutShared(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child", "passes")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("the process left %v in its temporary directory", names)
	}
}

// A panic ends the process. Before that, all control planes stop and remove their
// directories.
func TestPanic(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child", "panics")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: on purpose") {
		t.Fatalf("%v\n%s", err, out)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("the process left %v in its temporary directory\n%s", names, out)
	}
}

// Each test that calls Shared gets the error of the start.
func TestSharedThatDoesNotStart(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child-bad-config", "shared-1|shared-2")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Error("the process succeeded, want a failure")
	}
	if got := strings.Count(string(out), "ServiceCIDR: Invalid value"); got != 2 {
		t.Errorf("got ServiceCIDR %d times, want once for each of two tests:\n%s", got, out)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("the process left %v in its temporary directory", names)
	}
}

func TestMainLikeEnvtest(t *testing.T) {
	t.Parallel()
	cmd, _ := child(t, "child-envtest", "like-envtest")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInChild/like-envtest") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSharedWithoutMain(t *testing.T) {
	t.Parallel()
	cmd, _ := child(t, "child-without-main", "shared-1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "os.Exit(controlplanetest.Main(m, controlplanetest.Config{}))") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestKeepOnFailure follows the message: it uses the kubeconfig, and removes it.
func TestKeepOnFailure(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child-keep", "fails")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	var path string
	lines := bufio.NewScanner(stderr)
	for path == "" && lines.Scan() {
		said = append(said, lines.Text())
		if rest, found := strings.CutPrefix(strings.TrimSpace(lines.Text()), "kubectl --kubeconfig="); found {
			path, _, _ = strings.Cut(rest, " ")
		}
	}
	if path == "" || !strings.Contains(strings.Join(said, "\n"), "TestInChild/fails has failed") {
		t.Fatalf("got output %q, want the test's name and a kubectl command", said)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	// The control plane runs until the file is removed.
	second := int64(1)
	events, err := client.CoreV1().Secrets("").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &second})
	if err != nil {
		t.Fatal(err)
	}
	for range events.ResultChan() {
	}
	if _, err := client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("the test passed: %q", said)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("the process left %v in its temporary directory", names)
	}
}
