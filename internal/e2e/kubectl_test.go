// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "unsafe" // for go:linkname

	_ "k8s.io/client-go/plugin/pkg/client/auth" // as cmd/kubectl does
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/component-base/version"
	"k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// kubectlPath is another kubectl to test, such as one of the minor version before or
// after:
//
//	go test ./internal/e2e -run 'TestSeedWalk|TestKubectl|TestStreams' \
//		-args -kubectl=/usr/bin/kubectl
var kubectlPath = flag.String("kubectl", "", "absolute `path` of the kubectl to run in place of the one that is compiled in")

// upstreamVersion is the compiled-in release.
const upstreamVersion = apiserver.KubernetesVersion

// gitVersion is the variable that release builds of Kubernetes set with -ldflags -X.
// "go test" without flags cannot set it.
//
//go:linkname gitVersion k8s.io/component-base/version.gitVersion
var gitVersion string

// stampVersion sets the version that the release binary has.
func stampVersion() error {
	gitVersion = upstreamVersion
	return version.SetDynamicVersion(upstreamVersion)
}

// kubectlMain is main of k8s.io/kubernetes/cmd/kubectl.
func kubectlMain([]string) error {
	if err := stampVersion(); err != nil {
		return err
	}
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		cmdutil.CheckErr(err) // prints the error and exits
	}
	return nil
}

// kubectl runs kubectl commands with one kubeconfig file.
type kubectl struct {
	kubeconfig string
	home       string // for the discovery cache and kuberc, not the user's
	env        []string
}

// kubectlFor writes a kubeconfig file and returns a kubectl that uses it.
func kubectlFor(t *testing.T, kubeconfig []byte) *kubectl {
	t.Helper()
	home := t.TempDir()
	k := &kubectl{kubeconfig: filepath.Join(home, "kubeconfig.yaml"), home: home}
	if err := os.WriteFile(k.kubeconfig, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

// withCredentials returns a kubectl for the same cluster with other credentials.
func (k *kubectl) withCredentials(t *testing.T, credentials clientcmdapi.AuthInfo) *kubectl {
	t.Helper()
	config, err := clientcmd.LoadFromFile(k.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &credentials
	}
	content, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	return kubectlFor(t, content)
}

// result is the result of one kubectl command.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return "kubectl " + strings.Join(r.args, " ") + "\n" + r.stdout + r.stderr
}

// run runs a kubectl command to its end, successful or not.
func (k *kubectl) run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := k.command(t, args...)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := c.Start(); err != nil {
		t.Fatalf("start kubectl: %v", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	err := c.Wait()
	r := result{args: args, stdout: stdout.String(), stderr: stderr.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("%s%v", r, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s%v", r, ctx.Err())
	}
	return r
}

// command returns a kubectl command to start.
func (k *kubectl) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := command(t, "kubectl", append([]string{"--kubeconfig", k.kubeconfig}, args...)...)
	if *kubectlPath != "" {
		c.Path = *kubectlPath
	}
	c.Env = append(os.Environ(), "HOME="+k.home, "KUBECACHEDIR="+filepath.Join(k.home, "cache"), "KUBECONFIG=")
	c.Env = append(c.Env, k.env...)
	return c
}

// ok runs a command that must succeed, and returns its stdout.
func (k *kubectl) ok(t *testing.T, args ...string) string {
	t.Helper()
	return k.okStdin(t, "", args...)
}

// okStdin is ok with a standard input.
func (k *kubectl) okStdin(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	r := k.run(t, stdin, args...)
	if r.code != 0 {
		t.Fatalf("%sexit code %d", r, r.code)
	}
	return r.stdout
}

// fails runs a command that must fail with words on stderr.
func (k *kubectl) fails(t *testing.T, stdin string, words string, args ...string) {
	t.Helper()
	r := k.run(t, stdin, args...)
	if r.code == 0 || !strings.Contains(r.stderr, words) {
		t.Fatalf("%sexit code %d; want another than 0, and %q on stderr", r, r.code, words)
	}
}

// eventually repeats a command until it succeeds, for state that follows the last write
// with a delay: authorizers and published schemas follow the store by watch.
func (k *kubectl) eventually(t *testing.T, args ...string) string {
	t.Helper()
	var r result
	testwait.Until(t, "exit code 0", func(context.Context) error {
		r = k.run(t, "", args...)
		return unless(r.code == 0, r)
	})
	return r.stdout
}

// want requires all words in the output of a command.
func want(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("got %q, want %q in it", out, w)
		}
	}
}

// wantIs requires the exact output of a command, without surrounding space.
func wantIs(t *testing.T, out, all string) {
	t.Helper()
	if strings.TrimSpace(out) != all {
		t.Errorf("got %q, want %q", out, all)
	}
}

// squeeze replaces each run of white space by one space.
func squeeze(out string) string { return strings.Join(strings.Fields(out), " ") }

// table parses the output of "kubectl get": a map from column to cell for each row.
// Upstream separates columns by three spaces or more.
func table(t *testing.T, out string) []map[string]string {
	t.Helper()
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	head := lines[0]
	type column struct {
		name       string
		start, end int
	}
	var columns []column
	for i := 0; i < len(head); {
		end := strings.Index(head[i:], "  ")
		name := head[i:]
		next := len(head)
		if end >= 0 {
			name = head[i : i+end]
			next = i + end + len(head[i+end:]) - len(strings.TrimLeft(head[i+end:], " "))
		}
		columns = append(columns, column{name, i, next})
		i = next
	}
	var rows []map[string]string
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, c := range columns {
			end := c.end
			if i == len(columns)-1 || end > len(line) {
				end = len(line)
			}
			if c.start < end {
				row[c.name] = strings.TrimSpace(line[c.start:end])
			}
		}
		rows = append(rows, row)
	}
	return rows
}
