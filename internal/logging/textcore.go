// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewText returns a logger that passes each entry from the info level on to write, as a
// line for people with the time of the day.
func NewText(write func(at time.Time, line string)) *zap.Logger {
	encoder := zap.NewDevelopmentEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	encoder.CallerKey = ""
	encoder.ConsoleSeparator = "  "
	return zap.New(textCore{zapcore.InfoLevel, zapcore.NewConsoleEncoder(encoder), write})
}

type textCore struct {
	zapcore.LevelEnabler
	encoder zapcore.Encoder
	write   func(at time.Time, line string)
}

func (c textCore) With(fields []zapcore.Field) zapcore.Core {
	c.encoder = c.encoder.Clone()
	for i := range fields {
		fields[i].AddTo(c.encoder)
	}
	return c
}

func (c textCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c textCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	text, err := c.encoder.EncodeEntry(entry, fields)
	if err != nil {
		return err
	}
	c.write(entry.Time, text.String())
	text.Free()
	return nil
}

func (c textCore) Sync() error { return nil }
