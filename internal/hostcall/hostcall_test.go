// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall_test

import (
	"bytes"
	"runtime"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/testwait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func faulty() int { panic("faulty") }

func exits() int {
	runtime.Goexit()
	return 0
}

func TestGo(t *testing.T) {
	for name, test := range map[string]struct {
		f       func() int
		value   int
		exit    bool
		panicks any
		stack   string
	}{
		"returns": {f: func() int { return 7 }, value: 7},
		"panics":  {f: faulty, exit: true, panicks: "faulty", stack: "hostcall_test.faulty"},
		"exits":   {f: exits, exit: true, stack: "hostcall_test.exits"},
	} {
		ended := make(chan hostcall.Result[int], 1)
		if !hostcall.Go(&hostcall.Calls{}, test.f, func(r hostcall.Result[int]) { ended <- r }) {
			t.Fatalf("%s: it was not called", name)
		}
		got := <-ended
		if got.Value != test.value || (got.Exit != nil) != test.exit {
			t.Errorf("%s: got %+v", name, got)
		}
		if got.Exit != nil && (got.Exit.Panic != test.panicks || !bytes.Contains(got.Exit.Stack, []byte(test.stack))) {
			t.Errorf("%s: got panic %v and stack %s", name, got.Exit.Panic, got.Exit.Stack)
		}
	}
}

// TestMax: calls beyond the bound are refused until others return.
func TestMax(t *testing.T) {
	var calls hostcall.Calls
	release, ended := make(chan struct{}), make(chan hostcall.Result[int], hostcall.Max+1)
	call := func() bool {
		return hostcall.Go(&calls, func() int { <-release; return 0 }, func(r hostcall.Result[int]) { ended <- r })
	}
	for range hostcall.Max {
		if !call() {
			t.Fatal("a call within the bound was refused")
		}
	}
	if call() {
		t.Error("a call beyond the bound was accepted")
	}
	close(release)
	testwait.True(t, "a call after the others have returned", call)
	for range hostcall.Max + 1 {
		<-ended
	}
}
