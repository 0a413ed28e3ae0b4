// Package logging brings what upstream logs to the levels of a host.
package logging

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Lower returns a logger that writes each entry one level lower: upstream's
// information at debug level, its warnings as information, its errors as
// warnings. Its debug level is dropped: etcd writes whole requests there, and
// Secrets are in them. Upstream is written as a server of its own: what it
// calls a warning or an error it mostly expects at a start or retries by
// itself, and a host's errors are for what the host must act on. Levels above
// error, which end something, stay.
func Lower(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return lower{core}
	}))
}

type lower struct{ zapcore.Core }

// Queued is as of the core below: see logqueue.Ensure.
func (c lower) Queued() bool {
	core, ok := c.Core.(interface{ Queued() bool })
	return ok && core.Queued()
}

// level is what an entry is written at. Its fields are not known before the core below
// has decided: expectations about etcd have no Cause.
func level(entry zapcore.Entry) zapcore.Level {
	if entry.Level >= zapcore.WarnLevel && entry.Level <= zapcore.ErrorLevel {
		switch {
		case Expected(entry.Message, ""):
			return zapcore.DebugLevel
		case isFault(entry.Message):
			return zapcore.WarnLevel
		}
	}
	return Level(entry.Level)
}

// Level is what an entry of the given level is written at.
func Level(level zapcore.Level) zapcore.Level {
	if level > zapcore.DebugLevel && level <= zapcore.ErrorLevel {
		return level - 1
	}
	return level
}

func (c lower) Enabled(level zapcore.Level) bool {
	return level > zapcore.DebugLevel && c.Core.Enabled(Level(level))
}

func (c lower) With(fields []zapcore.Field) zapcore.Core { return lower{c.Core.With(fields)} }

func (c lower) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Level <= zapcore.DebugLevel {
		return checked
	}
	// The core below decides, and writes: it may be several, with levels of
	// their own, or a sampler.
	entry.Level = level(entry)
	return c.Core.Check(entry, checked)
}

func (c lower) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	entry.Level = level(entry)
	return c.Core.Write(entry, fields)
}

// Plain undoes Lower, for what this project itself says through a logger that etcd has.
func Plain(logger *zap.Logger) *zap.Logger {
	if logger == nil {
		return zap.NewNop()
	}
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		if lowered, ok := core.(lower); ok {
			return lowered.Core
		}
		return core
	}))
}
