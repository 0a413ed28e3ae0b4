// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package controlplanetest_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
	"github.com/kubembed/kubembed/pkg/pool/internal/testwait"
)

// TestProgramIsKilled: the test that has a control plane of it fails and says why, and
// the next one gets a new program.
func TestProgramIsKilled(t *testing.T) {
	r := &recorder{T: t}
	cp := controlplanetest.New(r, controlplanetest.Config{})
	kill(t)
	select {
	case <-cp.Done():
	case <-t.Context().Done():
		t.Fatal("the control plane is not done")
	}
	r.end()
	if all := strings.Join(r.errors, "\n"); !strings.Contains(all, "the program controlplanes has ended (killed, or out of memory?): its log is ") {
		t.Errorf("got %q, want the end of the program", all)
	}
	next := controlplanetest.New(t, controlplanetest.Config{})
	must(kubernetes.NewForConfigOrDie(next.ClientConfig()).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}))(t)
}

// TestProgramIsTerminated: tests that have a control plane fail and say why. One that
// asks while the program stops gets a new program.
func TestProgramIsTerminated(t *testing.T) {
	r := &recorder{T: t}
	cp := controlplanetest.New(r, controlplanetest.Config{})
	former := process(t)
	check(t, syscall.Kill(former, syscall.SIGTERM))
	controlplanetest.New(t, controlplanetest.Config{})
	<-cp.Done()
	r.end()
	if all := strings.Join(r.errors, "\n"); !strings.Contains(all, "the program controlplanes stops: ") {
		t.Errorf("got %q, want the stop of the program", all)
	}
	if process(t) == former {
		t.Error("the next test got the program that stops")
	}
}

// TestKilledTests: nothing is left of test processes that are killed with a control
// plane.
func TestKilledTests(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		cp := controlplanetest.New(t, controlplanetest.Config{})
		fmt.Println("leased", cp.URL())
		<-context.Background().Done() // until it is killed
	}
	const kills, atOnce = 100, 4
	var killers sync.WaitGroup
	for range atOnce {
		killers.Add(1)
		go func() {
			defer killers.Done()
			for range kills / atOnce {
				if err := killedTest(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	killers.Wait()
	var now string
	testwait.True(t, "the end of all leases", func() bool {
		now = status(t)
		return !strings.Contains(now, "leased") && !strings.Contains(now, "coming")
	})
	if left := strings.Count(now, "https://"); left > atOnce+1 {
		t.Errorf("%d control planes are left:\n%s", left, now)
	}
}

// killedTest kills a test process that has a control plane.
func killedTest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledTests$")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "leased ") {
		err = fmt.Errorf("got %q", line)
	}
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()         // it was killed
	return err
}
