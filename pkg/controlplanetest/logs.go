package controlplanetest

import (
	"fmt"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

// maxLog is how many bytes of log are kept for a test that may fail.
const maxLog = 1 << 20

// logBuffer keeps the last lines that a control plane has logged. A nil one is
// empty.
type logBuffer struct {
	mu    sync.Mutex
	lines []string
	first int // the number of lines[0], counted from the start
	bytes int
}

func newLogBuffer() (*logBuffer, *zap.Logger) {
	b := &logBuffer{}
	encoder := zap.NewDevelopmentEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	encoder.CallerKey = ""
	encoder.ConsoleSeparator = "  "
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), zapcore.AddSync(b), zapcore.InfoLevel)
	return b, zap.New(core)
}

// Write takes one entry, which may be of several lines.
func (b *logBuffer) Write(entry []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(entry))
	b.bytes += len(entry)
	drop := 0
	for b.bytes > maxLog && drop < len(b.lines)-1 {
		b.bytes -= len(b.lines[drop])
		b.lines[drop] = ""
		drop++
	}
	b.lines = b.lines[drop:]
	b.first += drop
	return len(entry), nil
}

// next is the number that the next line will have.
func (b *logBuffer) next() int {
	if b == nil {
		return 0
	}
	klogbridge.Flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first + len(b.lines)
}

// report returns the lines from the number on, after a line break, or nothing.
func (b *logBuffer) report(from int) string {
	if b == nil {
		return ""
	}
	klogbridge.Flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	skip := max(from-b.first, 0)
	if skip >= len(b.lines) {
		return ""
	}
	text := "\n"
	if b.first > from {
		text += fmt.Sprintf("(%d earlier lines were dropped)\n", b.first-from)
	}
	return text + strings.TrimRight(strings.Join(b.lines[skip:], ""), "\n")
}
