// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"io"
	"os"
	"reflect"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"
	upstream "k8s.io/apiserver/pkg/audit"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

// LogFile is the file of upstream's log backend, which leaves it open until the process
// ends. The zero value is no file.
type LogFile struct {
	mu     sync.RWMutex // of Close; others write at the same time
	writer io.Writer
	closed bool
}

// take replaces the writer of upstream's log backend by l.
func (l *LogFile) take(backend upstream.Backend) {
	if out := writerOf(backend); out != nil {
		l.writer, *out = *out, l
	}
}

// writerOf returns the address of the writer of upstream's log backend, which others may
// wrap. It returns nil if upstream has changed: the file then stays open.
func writerOf(backend upstream.Backend) *io.Writer {
	for backend != nil {
		v := reflect.Indirect(reflect.ValueOf(backend))
		if out := unexported.Field[io.Writer](v, "out"); out != nil {
			return out
		}
		wrapped := unexported.Field[upstream.Backend](v, "delegateBackend") // batches, truncation
		if wrapped == nil {
			wrapped = unexported.Field[upstream.Backend](v, "Backend") // blocking
		}
		if wrapped == nil {
			return nil
		}
		backend = *wrapped
	}
	return nil
}

// Write implements io.Writer. After Close it returns an error, where lumberjack would
// open the file again.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return 0, os.ErrClosed
	}
	return l.writer.Write(p)
}

// Close closes the file when writes in progress have returned. It also ends lumberjack's
// goroutine, which compresses and deletes rotated files, when its work is done.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	file, ok := l.writer.(io.Closer)
	if !ok || l.closed {
		return nil
	}
	l.closed = true
	err := file.Close()
	if rotated, ok := file.(*lumberjack.Logger); ok {
		// Only Write sends to the channel, which is nil before the first one.
		if work := unexported.Field[chan bool](reflect.ValueOf(rotated).Elem(), "millCh"); work != nil && *work != nil {
			close(*work)
		}
	}
	return err
}
