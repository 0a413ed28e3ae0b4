package controlplanetest_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestInChild is what child processes run.
func TestInChild(t *testing.T) {
	if _, child := children[filepath.Base(os.Args[0])]; !child {
		t.Skip("fails on purpose, in a process of its own")
	}
	t.Run("passes", func(*testing.T) {})
	t.Run("panics", func(t *testing.T) {
		// Others have a control plane, too, at that time, or start one.
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
	t.Run("closes", func(t *testing.T) {
		if err := controlplanetest.CloseServer(controlplanetest.Shared(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("next", func(t *testing.T) { list(t, controlplanetest.Shared(t)) })
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

// child is the command for a process that runs some of TestInChild. Its
// temporary directories are in tmp.
func child(t *testing.T, name, tests string) (cmd *exec.Cmd, tmp string) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tmp = t.TempDir()
	cmd = exec.CommandContext(t.Context(), executable, "-test.v", "-test.parallel=4", "-test.run=^TestInChild$/^("+tests+")$")
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "TMP="+tmp, "TEMP="+tmp)
	return cmd, tmp
}

func leftovers(t *testing.T, directory string) []string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestMainWithoutShared(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child", "passes")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("it left %v", names)
	}
}

// A panic ends the process. What runs by then, the shared control plane and those
// of other tests, is stopped, and removes its directories.
func TestPanic(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child", "panics")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: on purpose") {
		t.Fatalf("%v\n%s", err, out)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("it left %v\n%s", names, out)
	}
}

// Each test gets the reason, not only the first.
func TestSharedThatDoesNotStart(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child-bad-config", "shared-1|shared-2")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Error("it passed")
	}
	if got := strings.Count(string(out), "BindAddress"); got != 2 {
		t.Errorf("the field is named %d times, by two tests:\n%s", got, out)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("it left %v", names)
	}
}

// What one test does to the control plane is not the fault of the next.
func TestSharedThatHasStopped(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child", "closes|next")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInChild/next") {
		t.Errorf("%v\n%s", err, out)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("it left %v", names)
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

// TestKeepOnFailure does what the message says: it uses the kubeconfig, and
// removes it.
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
		t.Fatalf("it said: %q", said)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	// It is there for as long as somebody looks at it.
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
		t.Errorf("it left %v", names)
	}
}
