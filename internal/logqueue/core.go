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
	// host is the logger's core, with the fields. The worker makes it when it is
	// first needed.
	host    zapcore.Core
	verbose bool
}

// Queued reports that there is a queue, which a core that wraps this one does too.
func (*Core) Queued() bool { return true }

// Enabled asks the logger, which is the only thing that is asked of it in the
// caller's goroutine.
func (c *Core) Enabled(level zapcore.Level) (enabled bool) {
	defer func() { _ = recover() }()
	return c.queue.root.host.Enabled(level)
}

// With returns a core whose lines have the fields.
func (c *Core) With(fields []zapcore.Field) zapcore.Core {
	return &Core{queue: c.queue, parent: c, fields: freeze(fields), verbose: c.verbose}
}

// Verbose returns a core for code that logs as much at debug level as its host
// asks for.
func (c *Core) Verbose() *Core { return &Core{queue: c.queue, parent: c, verbose: true} }

// Check leaves it to the logger whether it writes the entry, when its turn comes.
func (c *Core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) {
		return checked
	}
	return checked.AddCore(entry, c)
}

// Write queues the entry. One that ends something is written before, if the
// logger is quick.
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

// Put queues the entry, of a kind, without asking the logger for its level. It
// calls nothing of the host's but methods of the fields.
func (c *Core) Put(kind string, entry zapcore.Entry, fields []zapcore.Field) {
	if c.queue.admit(kind, &entry, c.verbose) {
		c.queue.push(line{core: c, entry: entry, fields: freeze(fields)})
	}
}

// Flush is that of the queue.
func (c *Core) Flush(timeout time.Duration) bool { return c.queue.Flush(timeout) }

// Stalled is that of the queue.
func (c *Core) Stalled() time.Duration { return c.queue.Stalled() }

// Sync waits a moment for the logger. Lines are written in any case.
func (c *Core) Sync() error {
	c.queue.Flush(panicWait)
	return nil
}

// resolve is called by the worker only.
func (c *Core) resolve() zapcore.Core {
	if c.host == nil {
		if c.host = c.parent.resolve(); len(c.fields) > 0 {
			c.host = c.host.With(c.fields)
		}
	}
	return c.host
}
