// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

// maxLog is the number of bytes of log that the fixture keeps.
const maxLog = 1 << 20

// logBuffer keeps the last log lines of a control plane. A nil logBuffer is empty.
type logBuffer struct {
	mu    sync.Mutex
	lines []logLine
	first int // the number of lines[0] since the start
	bytes int
}

type logLine struct {
	time time.Time
	text string
}

// logCore writes to a logBuffer.
type logCore struct {
	zapcore.LevelEnabler
	encoder zapcore.Encoder
	buffer  *logBuffer
}

func (c logCore) With(fields []zapcore.Field) zapcore.Core {
	c.encoder = c.encoder.Clone()
	for i := range fields {
		fields[i].AddTo(c.encoder)
	}
	return c
}

func (c logCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c logCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	text, err := c.encoder.EncodeEntry(entry, fields)
	if err != nil {
		return err
	}
	c.buffer.add(entry.Time, text.String())
	text.Free()
	return nil
}

func (c logCore) Sync() error { return nil }

func newLogBuffer() (*logBuffer, *zap.Logger) {
	b := &logBuffer{}
	encoder := zap.NewDevelopmentEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	encoder.CallerKey = ""
	encoder.ConsoleSeparator = "  "
	return b, zap.New(logCore{zapcore.InfoLevel, zapcore.NewConsoleEncoder(encoder), b})
}

// add appends one entry, which may have several lines.
func (b *logBuffer) add(at time.Time, entry string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, logLine{at, entry})
	b.bytes += len(entry)
	drop := 0
	for b.bytes > maxLog && drop < len(b.lines)-1 {
		b.bytes -= len(b.lines[drop].text)
		b.lines[drop] = logLine{}
		drop++
	}
	b.lines = b.lines[drop:]
	b.first += drop
}

// next returns the number of the next line.
func (b *logBuffer) next() int {
	if b == nil {
		return 0
	}
	klogbridge.Flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first + len(b.lines)
}

// report returns the lines from the number on that were logged until end, after a line
// break, or nothing. Zero is no end.
func (b *logBuffer) report(from int, end time.Time) string {
	if b == nil {
		return ""
	}
	klogbridge.Flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines strings.Builder
	for _, line := range b.lines[min(max(from-b.first, 0), len(b.lines)):] {
		if end.IsZero() || !line.time.After(end) {
			lines.WriteString(line.text)
		}
	}
	if lines.Len() == 0 {
		return ""
	}
	text := "\n"
	if b.first > from {
		text += fmt.Sprintf("(%d earlier lines were dropped)\n", b.first-from)
	}
	return text + strings.TrimRight(lines.String(), "\n")
}
