// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// maxLog is the number of bytes of log that the fixture keeps.
const maxLog = 1 << 20

// logBuffer keeps the last log lines of a control plane. A nil logBuffer is empty.
type logBuffer struct {
	// flush returns when the buffer has the lines so far.
	flush func()

	mu    sync.Mutex
	lines []logLine
	first int // the number of lines[0] since the start
	bytes int
}

type logLine struct {
	time time.Time
	text string
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
	b.flush()
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
	b.flush()
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
