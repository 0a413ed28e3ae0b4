// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// helperEnv makes the test binary act as another process: "mode dir".
const helperEnv = "KUBEMBED_ETCD_TEST_HELPER"

func TestMain(m *testing.M) {
	if arg := os.Getenv(helperEnv); arg != "" {
		mode, dir, _ := strings.Cut(arg, " ")
		if err := helper(mode, dir); err != nil {
			fmt.Println("helper failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, ignoredGoroutines...)
}

var ignoredGoroutines = leaks.Ignored()

func helper(mode, dir string) error {
	switch mode {
	case "hold":
		m, err := etcd.Start(context.Background(), etcd.Config{Dir: dir})
		if err != nil {
			return err
		}
		if _, err := m.Client().Put(context.Background(), "k", "acknowledged"); err != nil {
			return err
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return m.Close()
	case "flooded":
		return flooded(dir)
	case "limited":
		return limited(dir)
	case "blocked":
		return blocked(dir)
	case "torn":
		return tornFill(dir)
	case "proxied":
		return proxied(dir)
	case "newer":
		return newer(dir)
	case "upgrade":
		return upgrade(dir)
	case "damage":
		return damageFill(dir)
	}
	return errors.New("unknown mode " + mode)
}

// child runs the test binary as a helper and waits for its first line.
func child(t *testing.T, mode, dir string) (*exec.Cmd, string) {
	t.Helper()
	return childWith(t, mode, dir)
}

// childWith is child with additional environment variables.
func childWith(t *testing.T, mode, dir string, env ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), helperEnv+"="+mode+" "+dir), env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	return cmd, strings.TrimSpace(line)
}
