// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

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
	b := &logBuffer{flush: klogbridge.Flush}
	encoder := zap.NewDevelopmentEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	encoder.CallerKey = ""
	encoder.ConsoleSeparator = "  "
	return b, zap.New(logCore{zapcore.InfoLevel, zapcore.NewConsoleEncoder(encoder), b})
}
