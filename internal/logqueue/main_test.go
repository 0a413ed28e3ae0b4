// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logqueue

import (
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Tests use shorter timeouts than a process.
func TestMain(m *testing.M) {
	stallTimeout, closeTimeout, reportInterval = 200*time.Millisecond, time.Second, time.Millisecond
	goleak.VerifyTestMain(m)
}

// timeout bounds a test's wait for an event.
const timeout = 30 * time.Second

// hook is a core that calls a function for each line.
type hook func(entry zapcore.Entry, fields []zapcore.Field)

func (hook) Enabled(zapcore.Level) bool          { return true }
func (h hook) With([]zapcore.Field) zapcore.Core { return h }
func (h hook) Sync() error                       { return nil }
func (h hook) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, h)
}
func (h hook) Write(e zapcore.Entry, fields []zapcore.Field) error { h(e, fields); return nil }

func hooked(f hook) *zap.Logger { return zap.New(f) }

func closeQueue(t *testing.T, q *Queue) {
	t.Helper()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(timeout):
		t.Fatal("timed out waiting for: " + what)
	}
}
