// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

func observed(level zapcore.Level) (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(level)
	return zap.New(core), logs
}

func messages(logs *observer.ObservedLogs) []string {
	var all []string
	for _, entry := range logs.All() {
		all = append(all, entry.Level.String()+" "+entry.Message)
	}
	return all
}

func TestLevelsAndSource(t *testing.T) {
	logger, logs := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	klog.Info("information")
	klog.Warning("a warning")
	klog.Error("an error")
	klog.ErrorS(errors.New("the cause"), "structured", "key", "value")
	klog.Info("two\nlines] with a bracket")
	klog.V(9).Info("too detailed")
	klog.Errorf("failed to sync: %v", context.Canceled)
	_ = detach()
	want := []string{
		"debug information", "info a warning", "warn an error", "warn structured",
		"debug two\nlines] with a bracket", "debug failed to sync: context canceled",
	}
	if got := messages(logs); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, entry := range logs.All() {
		source, _ := entry.ContextMap()["source"].(string)
		if !strings.HasPrefix(source, "bridge_test.go:") || entry.LoggerName != "klog" {
			t.Errorf("got source %q, logger %q", source, entry.LoggerName)
		}
	}
}

func TestSeveralLoggers(t *testing.T) {
	first, firstLogs := observed(zapcore.DebugLevel)
	second, secondLogs := observed(zapcore.WarnLevel)
	detachFirst, detachSecond := klogbridge.Attach(first), klogbridge.Attach(second)
	klog.Error("to both")
	klog.Info("to one")
	_ = detachFirst()
	_ = detachFirst()
	klog.Error("to two")
	_ = detachSecond()
	if got, want := messages(firstLogs), []string{"warn to both", "debug to one"}; !slices.Equal(got, want) {
		t.Errorf("first: got %q, want %q", got, want)
	}
	if got, want := messages(secondLogs), []string{"warn to both", "warn to two"}; !slices.Equal(got, want) {
		t.Errorf("second: got %q, want %q", got, want)
	}
}

// TestSameLoggerTwice: two control planes may share a logger.
func TestSameLoggerTwice(t *testing.T) {
	logger, logs := observed(zapcore.DebugLevel)
	first, second := klogbridge.Attach(logger), klogbridge.Attach(logger)
	_ = first()
	klog.Info("still attached")
	_ = second()
	if got := messages(logs); !slices.Contains(got, "debug still attached") {
		t.Errorf("got %q", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			for range 50 {
				logger, logs := observed(zapcore.DebugLevel)
				detach := klogbridge.Attach(logger)
				line := fmt.Sprintf("line of %d", i)
				klog.Info(line)
				_ = detach()
				if got := messages(logs); !slices.Contains(got, "debug "+line) {
					t.Errorf("line %q is missing in %q", line, got)
				}
			}
		})
	}
	users.Wait()
}

func klogFlags() *flag.FlagSet {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	return flags
}

func TestDetachRestores(t *testing.T) {
	before := map[string]string{}
	klogFlags().VisitAll(func(f *flag.Flag) { before[f.Name] = f.Value.String() })
	for range 2 {
		logger, _ := observed(zapcore.DebugLevel)
		_ = klogbridge.Attach(logger)()
		klogFlags().VisitAll(func(f *flag.Flag) {
			if got := f.Value.String(); got != before[f.Name] {
				t.Errorf("-%s: got %s, want %s", f.Name, got, before[f.Name])
			}
		})
	}
	// Lines go to standard error again.
	if code, _, stderr := child(t, "default to stderr"); code != 0 || !strings.Contains(stderr, "] to stderr\n") {
		t.Errorf("without the bridge: got exit code %d, stderr %q", code, stderr)
	}
	stderr := os.Stderr
	defer func() { os.Stderr = stderr }()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	os.Stderr = file
	klog.Info("after detach")
	printed, err := os.ReadFile(file.Name())
	if err != nil || !strings.HasSuffix(string(printed), "] after detach\n") || strings.Count(string(printed), "\n") != 1 {
		t.Errorf("got %q, %v", printed, err)
	}
}

// TestHostSettings: a host that has configured klog's output keeps it.
func TestHostSettings(t *testing.T) {
	for _, name := range []string{"host's files", "host's later files", "host's logger", "host's threshold"} {
		t.Run(name, func(t *testing.T) { wantAlive(t, name) })
	}
}

// hostFiles is a host that sets an output.
func hostFiles() error {
	var host strings.Builder
	if err := klogFlags().Set("logtostderr", "false"); err != nil {
		return err
	}
	if err := klogFlags().Set("stderrthreshold", "FATAL"); err != nil {
		return err
	}
	klog.SetOutput(io.Discard)
	klog.SetOutputBySeverity("INFO", &host)
	logger, logs := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	klog.Info("attached")
	_ = detach()
	klog.Info("detached")
	klog.Flush()
	if got := host.String(); !strings.Contains(got, "] attached\n") || !strings.Contains(got, "] detached\n") {
		return fmt.Errorf("the host's output has %q", got)
	}
	if logs.Len() > 0 {
		return fmt.Errorf("the bridge took %q", messages(logs))
	}
	return nil
}

// hostLaterFiles is a host that switches to files after the control plane has stopped:
// klog then opens them by itself, unless an output was left behind.
func hostLaterFiles() error {
	logger, _ := observed(zapcore.DebugLevel)
	_ = klogbridge.Attach(logger)()
	dir, err := os.MkdirTemp("", "klog-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL", "log_dir": dir} {
		if err := klogFlags().Set(name, value); err != nil {
			return err
		}
	}
	klog.Info("to a file")
	klog.Flush()
	files, err := filepath.Glob(filepath.Join(dir, "*.INFO"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("files %q, %w", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil || !strings.HasSuffix(string(content), "] to a file\n") {
		return fmt.Errorf("%q, %w", content, err)
	}
	return nil
}

// hostLogger is a host with a logr logger.
func hostLogger() error {
	var host []string
	klog.SetLogger(funcr.New(func(_, args string) { host = append(host, args) }, funcr.Options{}))
	logger, logs := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	klog.InfoS("attached")
	_ = detach()
	klog.InfoS("detached")
	if len(host) != 2 {
		return fmt.Errorf("the host's logger has %q", host)
	}
	if logs.Len() > 0 {
		return fmt.Errorf("the bridge took %q", messages(logs))
	}
	return nil
}

// hostThreshold is a host that has set a flag that matters only with files.
func hostThreshold() error {
	if err := klogFlags().Set("stderrthreshold", "WARNING"); err != nil {
		return err
	}
	logger, _ := observed(zapcore.DebugLevel)
	detach := klogbridge.Attach(logger)
	klog.Error("not for stderr")
	_ = detach()
	if got := klogFlags().Lookup("stderrthreshold").Value.String(); got != "1" {
		return fmt.Errorf("the threshold is %s", got)
	}
	return nil
}
