// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging_test

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/logging"
)

func TestLower(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	logger := logging.Lower(zap.New(core)).With(zap.String("with", "a field"))
	logger.Debug("debug")
	logger.Info("info")
	logger.Warn("warning")
	logger.Error("error")
	logger.DPanic("panic")

	want := []struct {
		level   zapcore.Level
		message string
	}{
		{zapcore.InfoLevel, "warning"},
		{zapcore.WarnLevel, "error"},
		{zapcore.DPanicLevel, "panic"},
	}
	entries := logs.All()
	if len(entries) != len(want) {
		t.Fatalf("got %d entries, want %d: %v", len(entries), len(want), entries)
	}
	for i, w := range want {
		got := entries[i]
		if got.Level != w.level || got.Message != w.message || got.ContextMap()["with"] != "a field" {
			t.Errorf("entry %d: got %s %q %v, want %s %q with the field", i, got.Level, got.Message, got.ContextMap(), w.level, w.message)
		}
	}
}

// TestLowerLeavesLevelsToEachCore: a host's logger may be a tee of cores with different
// levels.
func TestLowerLeavesLevelsToEachCore(t *testing.T) {
	file, fileLogs := observer.New(zapcore.DebugLevel)
	console, consoleLogs := observer.New(zapcore.ErrorLevel)
	logging.Lower(zap.New(zapcore.NewTee(file, console))).Error("retried")
	if got := consoleLogs.Len(); got != 0 {
		t.Errorf("got %d entries in the core for errors, want 0", got)
	}
	if got := fileLogs.FilterLevelExact(zapcore.WarnLevel).Len(); got != 1 {
		t.Errorf("got %d warnings in the core for all levels, want 1", got)
	}
}

// TestLowerDropsDebug: etcd's debug lines contain whole requests, Secrets included.
func TestLowerDropsDebug(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	logger := logging.Lower(zap.New(core))
	logger.Debug("a request with a Secret")
	if checked := logger.Check(zapcore.DebugLevel, "another"); checked != nil {
		checked.Write()
	}
	if logs.Len() != 0 || logger.Core().Enabled(zapcore.DebugLevel) {
		t.Errorf("got %v, want none", logs.All())
	}
}

// TestLowerExpected: the first start of a member logs no warning.
func TestLowerExpected(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	logging.Lower(zap.New(core)).Error("failed to update storage version")
	logging.Lower(zap.New(core)).Warn("18872ab49415b7e4 cannot campaign at term 1 since there are still pending configuration changes to apply")
	if entries := logs.All(); len(entries) != 2 || entries[0].Level != zapcore.DebugLevel || entries[1].Level != zapcore.DebugLevel {
		t.Errorf("got %v", entries)
	}
}

// TestLowerKeepsFaults: a line about a damaged file keeps its level.
func TestLowerKeepsFaults(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	lg := logging.Lower(zap.New(core))
	lg.Warn("snap file is corrupt")
	lg.Warn("found unexpected non-snap file; skipping")
	if entries := logs.All(); len(entries) != 2 || entries[0].Level != zapcore.WarnLevel || entries[1].Level != zapcore.InfoLevel {
		t.Errorf("got %v", entries)
	}
}

// TestPlain: this project's own lines keep their levels.
func TestPlain(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	logging.Plain(logging.Lower(zap.New(core)).With(zap.String("with", "a field")).Named("part")).Warn("ours")
	logging.Plain(zap.New(core)).Warn("ours, of a host's logger")
	logging.Plain(nil).Warn("nobody's")
	entries := logs.All()
	if len(entries) != 2 || entries[0].Level != zapcore.WarnLevel || entries[1].Level != zapcore.WarnLevel ||
		entries[0].ContextMap()["with"] != "a field" || entries[0].LoggerName != "part" {
		t.Errorf("got %v", entries)
	}
}
