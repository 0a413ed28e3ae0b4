// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package selfending_test

import (
	"testing"

	"github.com/kubembed/kubembed/internal/lifecycle/selfending"
)

func TestOn(t *testing.T) {
	method := selfending.Function{Package: "gopkg.in/natefinch/lumberjack.v2", Name: "(*Logger).millRun"}
	if got, want := method.Symbol(), "gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"; got != want {
		t.Errorf("Symbol() = %q, want %q", got, want)
	}
	function := selfending.Function{Package: "os/signal", Name: "loop"}
	for _, c := range []struct {
		function selfending.Function
		stack    []string
		want     bool
	}{
		{function, nil, false},
		{function, []string{"runtime.gopark", "os/signal.loop"}, true},
		{function, []string{"os/signal.loop.func1"}, true},
		{function, []string{"os/signal.loopback"}, false},
		{function, []string{"example.com/os/signal.loop"}, false},
		{method, []string{"gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"}, true},
		{method, []string{"gopkg.in/natefinch/lumberjack.v2.(*Logger).millRun"}, false}, // no name of a stack
		{method, []string{"gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRunOnce"}, false},
	} {
		if got := c.function.On(c.stack); got != c.want {
			t.Errorf("%s on %q: got %v, want %v", c.function.Name, c.stack, got, c.want)
		}
	}
}

func TestAny(t *testing.T) {
	if !selfending.Any([]string{"time.Sleep", "k8s.io/klog/v2.(*flushDaemon).run.func1"}) {
		t.Error("klog's goroutine is not found")
	}
	if selfending.Any([]string{"time.Sleep", "main.main"}) {
		t.Error("another goroutine is found")
	}
}
