// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// journal is the log of a control plane as an operator stores it: one JSON object for
// each line, from zap's production encoder.
type journal struct {
	mu    sync.Mutex
	lines []string
}

// newJournal returns a journal and the logger that writes to it.
func newJournal() (*journal, *zap.Logger) {
	j := &journal{}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder.EncodeDuration = zapcore.StringDurationEncoder
	return j, zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.AddSync(j), zapcore.DebugLevel))
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, strings.TrimSpace(string(line)))
	return len(line), nil
}

// entry is a line of a journal.
type entry struct {
	text   string
	Level  zapcore.Level  `json:"level"`
	Logger string         `json:"logger"`
	Msg    string         `json:"msg"`
	fields map[string]any // all fields
}

// entries returns the lines of level and above.
func (j *journal) entries(t *testing.T, level zapcore.Level) (all []entry) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		e := entry{text: line}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line of the log is not JSON: %s: %v", line, err)
		}
		if err := json.Unmarshal([]byte(line), &e.fields); err != nil {
			t.Fatal(err)
		}
		if e.Level >= level {
			all = append(all, e)
		}
	}
	return all
}

// text returns the lines of level and above.
func (j *journal) text(t *testing.T, level zapcore.Level) string {
	t.Helper()
	var lines strings.Builder
	for _, e := range j.entries(t, level) {
		lines.WriteString(e.text + "\n")
	}
	return lines.String()
}

// wantNoWarnings requires a log without warnings and errors, except warnings that begin
// with one of allowed.
func (j *journal) wantNoWarnings(t *testing.T, allowed ...string) {
	t.Helper()
	for _, e := range j.entries(t, zapcore.WarnLevel) {
		expected := false
		for _, prefix := range allowed {
			expected = expected || strings.HasPrefix(e.Msg, prefix)
		}
		if !expected {
			t.Errorf("the log has a warning: %s", e.text)
		}
	}
}

// wantLine requires a line at info level with these fields. An empty value matches any.
func (j *journal) wantLine(t *testing.T, message string, fields map[string]string) {
	t.Helper()
	var close []string
	for _, e := range j.entries(t, zapcore.InfoLevel) {
		if e.Msg != message {
			continue
		}
		close = append(close, e.text)
		same := e.Level == zapcore.InfoLevel
		for name, want := range fields {
			got, ok := e.fields[name]
			text, _ := got.(string)
			same = same && ok && (want == "" || text == want)
		}
		if same {
			return
		}
	}
	t.Errorf("no line %q with %v at info; lines of that message: %q", message, fields, close)
}

// save logs the journal, and writes it to the file in KUBEMBED_E2E_LOG if that is set.
func (j *journal) save(t *testing.T) {
	t.Helper()
	t.Logf("the log at the default level:\n%s", j.text(t, zapcore.WarnLevel))
	t.Logf("the log at info:\n%s", j.text(t, zapcore.InfoLevel))
	if path := os.Getenv("KUBEMBED_E2E_LOG"); path != "" {
		if err := os.WriteFile(path, []byte(j.text(t, zapcore.DebugLevel)), 0o600); err != nil {
			t.Error(err)
		}
	}
}
