// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/pkg/components/hollownode"
)

var require = flag.Bool("require", false, "run the commands of the pages, which takes a minute, and fail where that cannot be done")

// TestMain is the program that scripts call, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Getenv("DOCS") != "" {
		if err := helper(os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func helper(args []string) error {
	switch {
	case args[0] == "match" && len(args) == 3:
		shown, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		output, err := os.ReadFile(args[2])
		if err != nil {
			return err
		}
		return Match(string(shown), string(output))
	case args[0] == "workers":
		return workers(args[1])
	}
	return fmt.Errorf("what is %q?", args)
}

// workers are simulated: worker1 and worker2, and worker0, which no page mentions and
// which gets no pods.
func workers(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	nodes := hollownode.New(hollownode.Config{NamePrefix: "worker", Count: 3, Address: config.Host[len("https://"):strings.LastIndex(config.Host, ":")] + ":0"})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return nodes.Run(ctx, config, func() {
		_, err := client.CoreV1().Nodes().Patch(ctx, "worker0", types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("ready")
	})
}

// TestCommandsOfPages types the commands of the pages, each in a copy of the clone and
// in a network of its own, and compares their output.
func TestCommandsOfPages(t *testing.T) {
	if !*require {
		t.Skip("-args -require runs them, as CI does")
	}
	clone, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	prerequisites(t, clone)
	for _, page := range ShellPages {
		t.Run(page, func(t *testing.T) {
			blocks, err := Read(root, page)
			if err != nil {
				t.Fatal(err)
			}
			out, err := runScript(t, clone, Script(blocks))
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("ran:\n%s", out)
		})
	}
}

// The test can fail: where a command or the shown output is wrong, or a program that
// keeps running does not say what the page waits for.
func TestWrongCommandIsFound(t *testing.T) {
	clone, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	prerequisites(t, clone)
	for name, page := range map[string]string{
		"command":    "```sh\ntrue\n```\n```sh\nls /nowhere\n```\n",
		"first of 2": "```sh\nfalse\ntrue\n```\n",
		"output":     "```console\n$ echo one two\none three\n```\n",
		"none":       "```console\n$ true\none\n```\n",
		"ends":       "<!-- docs: background until ready -->\n```sh\ntrue\n```\n",
	} {
		blocks, err := Parse("page.md", page)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := runScript(t, clone, Script(blocks)); err == nil {
			t.Errorf("%s: no error:\n%s", name, out)
		}
	}
	blocks, err := Parse("page.md", "```sh\nexport A=b\ncat > new.txt <<EOF\nline\nEOF\n```\n```console\n$ echo $A \\\n  c\nb c\n$ cat new.txt\nline\n```\n"+
		"<!-- docs: background until ready -->\n```sh\nD=ready\nsh -c \"echo $D; sleep 1000\"\n```\n```sh\ntrue\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := runScript(t, clone, Script(blocks)); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(clone, "new.txt")); err == nil {
		t.Error("the script wrote to the clone itself")
	}
}

// prerequisites skips the test where a page cannot be run.
func prerequisites(t *testing.T, clone string) {
	t.Helper()
	missing := func(reason string) {
		t.Helper()
		if *require {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	if os.Getuid() != 0 {
		missing("network namespaces and mounts need root")
	}
	for _, program := range []string{"bash", "unshare", "mount", "ip", "curl", "jq", "hostname"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(err.Error())
		}
	}
	if out, err := runScript(t, clone, preamble); err != nil {
		missing(fmt.Sprintf("no copy of the clone: %v\n%s", err, out))
	}
}

// runScript runs a script in the directory of the clone, which is a copy in a mount
// namespace, at the same path, so that the build cache of the clone is of use. Nothing
// reaches the network, and what still runs at the end is killed.
func runScript(t *testing.T, clone, script string) (string, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"out", "tmp", "home", "layers"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// An overlay cannot be a layer of another on every kernel: a tmpfs can.
	const copyOfClone = `set -e
mount -t tmpfs tmpfs "$LAYERS" && mkdir "$LAYERS/up" "$LAYERS/work"
mount -t overlay overlay -o "lowerdir=$CLONE,upperdir=$LAYERS/up,workdir=$LAYERS/work" "$CLONE"
cd / && cd "$CLONE"
ip link set lo up
ip link add machine type bridge && ip addr add 10.99.0.1/24 dev machine && ip link set machine up
`
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte(copyOfClone+script), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Minute, errors.New("it takes more than eight minutes"))
	defer cancel()
	c := exec.CommandContext(ctx, "unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", file)
	c.Env = append(os.Environ(), "CLONE="+clone, "LAYERS="+filepath.Join(dir, "layers"), "OUT="+filepath.Join(dir, "out"),
		"TMPDIR="+filepath.Join(dir, "tmp"), "DOCS="+program, "GOPROXY=off", "KUBECONFIG=", "GOWORK=")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.WaitDelay = 10 * time.Second
	out, err := c.CombinedOutput()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return string(out), err
}
