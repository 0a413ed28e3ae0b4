// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package logging maps upstream's log levels to the levels of a host.
package logging

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Lower returns a logger that writes each entry one level lower: upstream's information
// at debug level, its warnings as information, its errors as warnings. It drops
// upstream's debug level: etcd logs whole requests there, Secrets included. Upstream is
// written as a separate server. It expects most of its warnings and errors at a start, or
// retries the operations, but a host's errors require action. Levels above error, which
// end something, stay.
func Lower(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return lower{core}
	}))
}

type lower struct{ zapcore.Core }

// Queued reports whether the core below is queued: see logqueue.Ensure.
func (c lower) Queued() bool {
	core, ok := c.Core.(interface{ Queued() bool })
	return ok && core.Queued()
}

// level returns the level to write an entry at. The fields are not known before the core
// below has decided: expectations about etcd have no Cause.
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

// Level returns the level to write an entry of the given level at.
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
	// The core below decides, and writes: it may be a tee of several levels, or a
	// sampler.
	entry.Level = level(entry)
	return c.Core.Check(entry, checked)
}

func (c lower) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	entry.Level = level(entry)
	return c.Core.Write(entry, fields)
}

// Plain undoes Lower, for this project's own lines through etcd's logger.
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
