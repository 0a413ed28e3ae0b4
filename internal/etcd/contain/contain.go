// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package contain keeps etcd from ending the host's process. Where etcd cannot continue,
// it logs a fatal or panic message, after which zap exits or panics. A Containment stops
// only the goroutine that logged the message, and records the failure of the member.
package contain

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/callstack"
)

// Containment keeps etcd's fatal and panic messages from ending the process. It is the
// zap hook for both.
//
// The goroutine that logged the message stops in one of two ways:
//
//   - Under Run, that is in the goroutine of Start or of a caller of the client, it
//     panics, and Run turns the panic into an error.
//   - Otherwise it is a goroutine of etcd and blocks, with the locks that it holds.
//     Unwinding it would run etcd's deferred functions, which release locks on half-done
//     work that the next commit would make durable, and close channels that other
//     goroutines then panic on. Blocking is as close to a process exit as one goroutine
//     can come. When the rest of the member has stopped, Release lets it exit.
type Containment struct {
	once     sync.Once
	failed   chan struct{} // closed by the first Fail
	err      error         // set before failed is closed
	released chan struct{}
}

// containedPanic unwinds a goroutine under Run.
type containedPanic struct{ err error }

// PanicError is an unexpected panic in upstream's code.
type PanicError struct {
	Value any
	stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.stack) }

// New returns a Containment for one member.
func New() *Containment {
	return &Containment{failed: make(chan struct{}), released: make(chan struct{})}
}

// Logger returns base with hooks that keep it from ending the process.
func (c *Containment) Logger(base *zap.Logger) *zap.Logger {
	if base == nil {
		base = zap.NewNop()
	}
	return base.WithOptions(zap.WithFatalHook(c), zap.WithPanicHook(c))
}

// OnWrite implements zapcore.CheckWriteHook. zap calls it after a fatal or panic message,
// even if the level is disabled.
func (c *Containment) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := entryError(entry.Message, fields)
	c.Fail(err)
	if underRun() {
		panic(containedPanic{err})
	}
	<-c.released
	runtime.Goexit()
}

// Fail records the first failure.
func (c *Containment) Fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.failed)
	})
}

// Release lets the goroutines exit that OnWrite blocks. It is only safe when the server's
// other goroutines have ended.
func (c *Containment) Release() { close(c.released) }

// Run calls f and returns its error. A panic in f, and a fault in memory that is mapped
// from a file, become errors and count as a failure of the member.
func (c *Containment) Run(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case containedPanic:
			err = p.err
		default:
			err = &PanicError{Value: p, stack: debug.Stack()}
			c.Fail(err)
		}
	}()
	return f()
}

// underRun reports whether Run is on the stack of the calling goroutine. It is only
// called after a failure, so its cost does not matter.
func underRun() bool {
	return callstack.Any(func(function string) bool { return strings.HasSuffix(function, "contain.(*Containment).Run") })
}

// entryError converts a log entry to an error that wraps the entry's own.
func entryError(message string, fields []zapcore.Field) error {
	var parts []string
	for _, f := range fields {
		switch v := f.Interface.(type) {
		case error:
			return fmt.Errorf("%s: %w", message, v)
		case fmt.Stringer:
			parts = append(parts, f.Key+"="+v.String())
		case nil:
			if f.String != "" {
				parts = append(parts, f.Key+"="+f.String)
			}
		}
	}
	if len(parts) == 0 {
		return errors.New(message)
	}
	return fmt.Errorf("%s (%s)", message, strings.Join(parts, ", "))
}

// Failed returns a channel that is closed by the first failure.
func (c *Containment) Failed() <-chan struct{} { return c.failed }

// Err returns the first failure. It may be called once Failed is closed.
func (c *Containment) Err() error { return c.err }

// OK reports whether nothing has failed so far.
func (c *Containment) OK() bool {
	select {
	case <-c.failed:
		return false
	default:
		return true
	}
}
