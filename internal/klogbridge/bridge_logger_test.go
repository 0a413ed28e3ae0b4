// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/klogbridge"
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

// TestLoggerThatWritesToKlog: a logger that writes to klog once called itself with klog's
// lock held, which locked klog for the whole process. Its lines go to klog's default
// output.
func TestLoggerThatWritesToKlog(t *testing.T) {
	code, stdout, stderr := child(t, "klog logger")
	if code != 0 || stdout != "alive\n" {
		t.Errorf("got exit code %d, stdout %q, stderr %.1000q", code, stdout, stderr)
	}
	var got []string
	for line := range strings.Lines(stderr) {
		_, message, _ := strings.Cut(strings.TrimSpace(line), "] ")
		got = append(got, message)
	}
	slices.Sort(got)
	if want := []string{"one has: from the host", "two has: from the host"}; !slices.Equal(got, want) {
		t.Errorf("stderr: got %q, want %q", got, want)
	}
}

// klogLogger attaches two loggers that write to klog; each would feed the other.
func klogLogger() error {
	detach := map[string]func() error{}
	for _, name := range []string{"one", "two"} {
		detach[name] = klogbridge.Attach(zap.New(logHook(func(e zapcore.Entry) { klog.Info(name, " has: ", e.Message) })))
	}
	klog.Info("from the host")
	for name, detach := range detach {
		if err := detach(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// TestLoggerHasTheLastLine: the logger gets the fatal line of the process.
func TestLoggerHasTheLastLine(t *testing.T) {
	if code, stdout, _ := child(t, "last line"); code != 255 || !strings.HasPrefix(stdout, "the host gives up\n") {
		t.Errorf("got exit code %d, stdout %q", code, stdout)
	}
}

func lastLine() error {
	klogbridge.Attach(zap.New(logHook(func(e zapcore.Entry) {
		time.Sleep(50 * time.Millisecond) // a slow one
		fmt.Fprintln(os.Stdout, e.Message)
	})))
	klog.Fatal("the host gives up")
	return nil
}

// TestLoggerThatBlocks: a blocking logger does not block other loggers, and blocks its
// own detach only for a while.
func TestLoggerThatBlocks(t *testing.T) {
	called, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	detach := klogbridge.Attach(zap.New(logHook(func(zapcore.Entry) {
		once.Do(func() { close(called) })
		<-release
	})))
	other, logs := observed(zapcore.DebugLevel)
	detachOther := klogbridge.Attach(other)
	done := make(chan error, 1)
	go func() {
		klog.Warning("the first line")
		<-called
		klog.Warning("the second line")
		if err := detachOther(); err != nil {
			t.Error("the other logger:", err)
		}
		done <- detach()
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "2 lines are not written") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		close(release)
		t.Fatal("klog is locked")
	}
	close(release) // and the goroutine ends: see TestMain
	if got := messages(logs); !slices.Equal(got, []string{"info the first line", "info the second line"}) {
		t.Errorf("other logger: got %q", got)
	}
}

// TestFlood: lines that clients cause do not fill the logger, whatever their text.
func TestFlood(t *testing.T) {
	logger, logs := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	const lines = 3000
	begun := time.Now()
	for i := range lines {
		klog.ErrorS(fmt.Errorf("token %d is bad", i), "Unable to authenticate the request")
	}
	seconds := int(time.Since(begun).Seconds())
	klog.Error("something that matters")
	if err := detach(); err != nil {
		t.Error(err)
	}
	matters, suppressed := logs.FilterMessage("something that matters").Len(), logs.FilterMessageSnippet("suppressed").All()
	if got := logs.Len(); matters != 1 || len(suppressed) != 1 || got < 20 || got > 100+2*seconds {
		t.Fatalf("got %d of %d lines, %d important ones, %d summaries", got, lines, matters, len(suppressed))
	}
	summary := suppressed[0].ContextMap()
	if n := summary["lines"].(int64); n != int64(lines-logs.Len()+2) || !strings.HasPrefix(summary["kind"].(string), "bridge_logger_test.go:") {
		t.Errorf("got summary %v", summary)
	}
}

func TestLongLine(t *testing.T) {
	logger, logs := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	klog.Error(strings.Repeat("ä", 1<<20))
	if err := detach(); err != nil {
		t.Error(err)
	}
	if got := messages(logs); len(got) != 1 || len(got[0]) > 1<<17 || !strings.HasSuffix(got[0], " bytes more)") {
		t.Errorf("got %d lines, %.100q", len(got), got)
	}
}
