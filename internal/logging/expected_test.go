package logging_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/logging"
)

// TestExpectationsAreUpstreams: each text still stands where it stood. One that upstream
// has changed would be a warning again, and one that it has dropped is to be deleted.
func TestExpectationsAreUpstreams(t *testing.T) {
	dirs := map[string]string{}
	for _, e := range slices.Concat(logging.Expectations, logging.Faults) {
		if e.Why == "" {
			t.Errorf("%q has no reason", e.Text)
		}
		dir, ok := dirs[e.Package]
		if !ok {
			out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", e.Package).Output()
			if err != nil {
				t.Fatalf("%s: %v", e.Package, err)
			}
			dir = strings.TrimSpace(string(out))
			dirs[e.Package] = dir
		}
		source, err := os.ReadFile(filepath.Join(dir, e.File))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(source), strings.Trim(strconv.Quote(e.Text), `"`)) {
			t.Errorf("%s/%s does not have %q any more", e.Package, e.File, e.Text)
		}
	}
}

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
	cancel()
	s.Error(errors.New("timed out"), "waiting for caches")
	for i, want := range []zapcore.Level{zapcore.DebugLevel, zapcore.WarnLevel, zapcore.DebugLevel, zapcore.WarnLevel, zapcore.DebugLevel} {
		entry := logs.All()[i]
		if entry.Level != want || entry.ContextMap()["with"] != "a field" || entry.LoggerName != "part" {
			t.Errorf("line %d: %v %v", i, entry.Entry, entry.ContextMap())
		}
	}
	if fields := logs.All()[0].ContextMap(); fields["klog_msg"] != "a key of the line's own" || fields["msg"] != nil {
		t.Errorf("%v", fields)
	}
}
