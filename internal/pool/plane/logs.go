// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"sync"
	"time"

	"github.com/kubembed/kubembed/internal/klogbridge"
	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// maxLog is the size of the log that is kept, as in the fixture.
const maxLog = 1 << 20

// logs keeps the entries of a lease.
type logs struct {
	mu      sync.Mutex
	first   int
	bytes   int
	entries []protocol.LogEntry
}

func (l *logs) add(at time.Time, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, protocol.LogEntry{Time: at, Text: text})
	l.bytes += len(text)
	for l.bytes > maxLog && len(l.entries) > 1 {
		l.bytes -= len(l.entries[0].Text)
		l.entries = l.entries[1:]
		l.first++
	}
}

// clear begins the log of a lease.
func (l *logs) clear() {
	klogbridge.Flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first, l.bytes, l.entries = 0, 0, nil
}

// since returns the entries from a number on.
func (l *logs) since(from int) protocol.Log {
	klogbridge.Flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	skip := min(max(from-l.first, 0), len(l.entries))
	return protocol.Log{First: l.first + skip, Entries: append([]protocol.LogEntry{}, l.entries[skip:]...)}
}
