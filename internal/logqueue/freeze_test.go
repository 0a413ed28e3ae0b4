// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logqueue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"go.uber.org/multierr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// mutable is a value that may change after it is logged.
type mutable struct{ text string }

func (m *mutable) String() string { return m.text }
func (m *mutable) Error() string  { return m.text }
func (m *mutable) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddDuration("duration", time.Second)
	defer e.AddString("text", m.text) // in the order of their names, which stays
	return e.AddArray("list", zapcore.ArrayMarshalerFunc(func(a zapcore.ArrayEncoder) error {
		a.AppendString(m.text)
		return a.AppendObject(zapcore.ObjectMarshalerFunc(func(e zapcore.ObjectEncoder) error {
			e.AddInt("n", len(m.text))
			return nil
		}))
	}))
}

type panicking struct{}

func (*panicking) Error() string { panic("in Error") }

// TestFieldsAreThoseOfTheCall: fields have their values at the time of the call, in the
// form that the logger itself would write.
func TestFieldsAreThoseOfTheCall(t *testing.T) {
	m := &mutable{"before"}
	raw := []byte("before")
	reflected := map[string][]string{"key": {"before"}}
	plain := struct{ A, B int }{1, 2}
	fields := []zapcore.Field{
		zap.Stringer("stringer", m), zap.Error(m), zap.Object("object", m), zap.Inline(m),
		zap.ByteString("bytes", raw), zap.Binary("binary", raw), zap.Any("reflected", reflected), zap.Any("plain", plain),
		zap.Strings("strings", reflected["key"]), zap.NamedError("group", multierr.Combine(m, fs.ErrExist)),
		zap.Time("time", time.Unix(1, 0).UTC()), zap.Duration("duration", time.Minute), zap.Bool("bool", true),
		zap.Stringer("nil stringer", (*mutable)(nil)), zap.NamedError("nil error", (*mutable)(nil)),
		zap.Any("nil", nil), zap.Any("no JSON", func() {}), zap.Errors("errors", []error{m, fs.ErrClosed}),
		zap.NamedError("joined", errors.Join(m, fs.ErrClosed)), zap.Namespace("inner"), zap.Int("last", 3),
	}
	var want, got bytes.Buffer
	encode := func(to *bytes.Buffer) *zap.Logger {
		config := zapcore.EncoderConfig{MessageKey: "message", EncodeTime: zapcore.ISO8601TimeEncoder, EncodeDuration: zapcore.StringDurationEncoder}
		return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.AddSync(to), zap.InfoLevel))
	}
	encode(&want).Info("a line", fields...)
	release := make(chan struct{})
	q := New(zap.New(zapcore.NewTee(hook(func(zapcore.Entry, []zapcore.Field) { <-release }), encode(&got).Core())), nil)
	q.Logger().With(fields[:3]...).Info("a line", fields[3:]...)
	m.text, reflected["key"][0] = "after", "after"
	copy(raw, "AFTER!")
	close(release)
	closeQueue(t, q)
	if got.String() != want.String() {
		t.Errorf("got  %s\nwant %s", &got, &want)
	}
}

func TestErrorsKeepTheirChain(t *testing.T) {
	var got error
	q := New(hooked(func(_ zapcore.Entry, fields []zapcore.Field) { got = fields[0].Interface.(error) }), nil)
	q.Logger().Info("a line", zap.Error(fmt.Errorf("wrapped: %w", fs.ErrNotExist)))
	closeQueue(t, q)
	if !errors.Is(got, fs.ErrNotExist) || got.Error() != "wrapped: file does not exist" {
		t.Errorf("got %v", got)
	}
}

func TestFieldThatPanics(t *testing.T) {
	var lines int
	q := New(hooked(func(_ zapcore.Entry, fields []zapcore.Field) {
		lines++
		if text := fields[0].Interface.(error).Error(); text != "PANIC=in Error" {
			t.Error(text)
		}
	}), nil)
	q.Logger().Info("a line", zap.Error(&panicking{}))
	closeQueue(t, q)
	if lines != 1 {
		t.Errorf("got %d lines", lines)
	}
}

// For the race detector.
func TestFieldsAreNotReadLater(t *testing.T) {
	q := New(zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(&bytes.Buffer{}), zap.InfoLevel)), nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			m := &mutable{"x"}
			for i := range 200 {
				q.Logger().With(zap.Object("with", m)).Info(distinct(i), zap.Error(m), zap.Stringer("s", m), zap.Any("any", &m.text))
				m.text = fmt.Sprint(i)
			}
		})
	}
	all.Wait()
	closeQueue(t, q)
}
