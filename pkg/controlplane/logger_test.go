// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// logHook is a core that calls a function for each line.
type logHook func(zapcore.Entry)

func (logHook) Enabled(zapcore.Level) bool                       { return true }
func (h logHook) With([]zapcore.Field) zapcore.Core              { return h }
func (h logHook) Write(e zapcore.Entry, _ []zapcore.Field) error { h(e); return nil }
func (logHook) Sync() error                                      { return nil }
func (h logHook) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, h)
}

// TestLoggerThatBlocks: it blocks no control plane, and delays Close only as documented.
func TestLoggerThatBlocks(t *testing.T) {
	goroutines := goleak.IgnoreCurrent()
	release := make(chan struct{})
	var after atomic.Bool
	var late atomic.Int64
	blocked, err := controlplane.Start(t.Context(), controlplane.Config{Logger: zap.New(logHook(func(zapcore.Entry) {
		if after.Load() {
			late.Add(1)
		}
		<-release
	}))})
	if err != nil {
		t.Fatal(err)
	}
	other := start(t, controlplane.Config{})
	klog.Warning("a line for both")
	for _, server := range []*controlplane.Server{blocked, other} {
		createPod(t, overTLS(t, server, "jane", "system:masters"), "first")
	}
	closeServer(t, other)
	closed := make(chan error, 1)
	go func() { closed <- blocked.Close() }()
	select {
	case err := <-closed:
		if err == nil || !strings.Contains(err.Error(), "Config.Logger: it blocks") {
			t.Errorf("Close: got %v, want Config.Logger: it blocks", err)
		}
	case <-time.After(time.Minute):
		close(release)
		t.Fatal("Close has not returned")
	}
	<-blocked.Done()
	after.Store(true)
	close(release)
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
	if n := late.Load(); n > 0 {
		t.Errorf("lines written after Close: got %d, want 0", n)
	}
}

// klogCore is a host's core that writes through klog.
type klogCore struct{ zapcore.LevelEnabler }

func (c klogCore) With([]zapcore.Field) zapcore.Core { return c }
func (klogCore) Sync() error                         { return nil }
func (klogCore) Write(e zapcore.Entry, _ []zapcore.Field) error {
	klog.Warning("by the Logger: ", e.Message)
	return nil
}

func (c klogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// TestLoggerThatWritesToKlog: such lines once deadlocked with klog's lock held. klog
// prints them, as configured by the host.
func TestLoggerThatWritesToKlog(t *testing.T) {
	stderr := os.Stderr
	defer func() { os.Stderr = stderr }()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	os.Stderr = file
	closed := make(chan error, 1)
	go func() {
		server, err := controlplane.Start(t.Context(), controlplane.Config{InsecureAddr: "127.0.0.1:0", Logger: zap.New(klogCore{zap.WarnLevel})})
		if err == nil {
			klog.Error("the host says something")
			err = server.Close()
		}
		closed <- err
	}()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("deadlock: the control plane waits for its Logger, which waits for klog")
	}
	os.Stderr = stderr
	printed, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"by the Logger: INSECURE", "by the Logger: the host says something"} {
		if n := strings.Count(string(printed), want); n != 1 {
			t.Errorf("%q: got %d lines, want 1: %.2000s", want, n, printed)
		}
	}
}
