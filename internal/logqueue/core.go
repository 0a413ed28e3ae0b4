// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logqueue

import (
	"time"

	"go.uber.org/zap/zapcore"
)

// Core is the zapcore.Core of a Queue.
type Core struct {
	queue  *Queue
	parent *Core
	fields []zapcore.Field
	// host is the logger's core, with the fields. The worker makes it on first use.
	host    zapcore.Core
	verbose bool
}

// Queued reports that there is a queue. A core that wraps this one reports it too.
func (*Core) Queued() bool { return true }

// Enabled asks the logger for its level. This is the only call of the logger in the
// caller's goroutine.
func (c *Core) Enabled(level zapcore.Level) (enabled bool) {
	defer func() { _ = recover() }()
	return c.queue.root.host.Enabled(level)
}

// With returns a core whose lines have the fields.
func (c *Core) With(fields []zapcore.Field) zapcore.Core {
	return &Core{queue: c.queue, parent: c, fields: freeze(fields), verbose: c.verbose}
}

// Verbose returns a core for code whose debug lines are as many as its host requests.
func (c *Core) Verbose() *Core { return &Core{queue: c.queue, parent: c, verbose: true} }

// Check leaves the decision to the logger, which makes it when the worker reaches the
// entry.
func (c *Core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) {
		return checked
	}
	return checked.AddCore(entry, c)
}

// Write queues the entry. For an entry that ends something it waits, up to panicWait,
// until the logger has written it.
func (c *Core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	kind := entry.LoggerName + " " + template(entry.Message)
	if entry.Caller.Defined {
		kind = entry.Caller.TrimmedPath()
	}
	c.Put(kind, entry, fields)
	if entry.Level >= zapcore.DPanicLevel {
		c.queue.Flush(panicWait)
	}
	return nil
}

// Put queues an entry of a kind, without asking the logger for its level. Of the host's
// code it calls only methods of the fields.
func (c *Core) Put(kind string, entry zapcore.Entry, fields []zapcore.Field) {
	if c.queue.admit(kind, &entry, c.verbose) {
		c.queue.push(line{core: c, entry: entry, fields: freeze(fields)})
	}
}

// Flush is [Queue.Flush].
func (c *Core) Flush(timeout time.Duration) bool { return c.queue.Flush(timeout) }

// Stalled is [Queue.Stalled].
func (c *Core) Stalled() time.Duration { return c.queue.Stalled() }

// Sync waits up to panicWait for the logger. Lines are written in any case.
func (c *Core) Sync() error {
	c.queue.Flush(panicWait)
	return nil
}

// resolve returns the core of the logger. Only the worker calls it.
func (c *Core) resolve() zapcore.Core {
	if c.host == nil {
		if c.host = c.parent.resolve(); len(c.fields) > 0 {
			c.host = c.host.With(c.fields)
		}
	}
	return c.host
}
