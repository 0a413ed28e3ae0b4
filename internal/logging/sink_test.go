// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/logging"
)

// sink is a logr.LogSink.
type sink struct{ logging.Sink }

// TestSinkExpected: lines of a component's own logger have the same levels.
func TestSinkExpected(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	ctx, cancel := context.WithCancel(t.Context())
	s := sink{logging.NewSink(ctx, zap.New(core)).Named("part").With("with", "a field")}
	s.Error(errors.New("client disconnected"), "Failed to encode watch event", "msg", "a key of the line's own")
	s.Error(errors.New("cannot encode"), "Failed to encode watch event")
	s.Error(errors.New("list: context canceled"), "reflector")
	s.Error(nil, "no reason")
	s.Error(nil, "SPDY upgrade failed", "status", "501 Not Implemented")
	s.Error(nil, "SPDY upgrade failed", "status", "502 Bad Gateway")
	cancel()
	s.Error(errors.New("timed out"), "waiting for caches")
	for i, want := range []zapcore.Level{
		zapcore.DebugLevel, zapcore.WarnLevel, zapcore.DebugLevel, zapcore.WarnLevel, zapcore.DebugLevel, zapcore.WarnLevel, zapcore.DebugLevel,
	} {
		entry := logs.All()[i]
		if entry.Level != want || entry.ContextMap()["with"] != "a field" || entry.LoggerName != "part" {
			t.Errorf("line %d: got %v %v", i, entry.Entry, entry.ContextMap())
		}
	}
	if fields := logs.All()[0].ContextMap(); fields["klog_msg"] != "a key of the line's own" || fields["msg"] != nil {
		t.Errorf("got fields %v", fields)
	}
}
