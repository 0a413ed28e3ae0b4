// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/logqueue"
)

// Sink passes lines that upstream logs through the logger of its context to zap. So a
// line reaches only the logger of its own control plane. Sink is embedded in a
// logr.LogSink, which adds WithValues and WithName: these return the embedding type.
type Sink struct {
	logger *zap.Logger
	plain  *zap.Logger // the same with unchanged levels
	ctx    context.Context
}

// NewSink returns a sink that lowers levels as Lower does. ctx is the context of the
// component: after its end, errors are at debug level, because the stop causes them.
func NewSink(ctx context.Context, logger *zap.Logger) Sink {
	logger = logger.WithOptions(zap.WithCaller(false), zap.WrapCore(verbose))
	return Sink{Lower(logger), logger, ctx}
}

// verbose raises a queue's limit for lines that a host requests by klog's verbosity.
func verbose(core zapcore.Core) zapcore.Core {
	if queued, ok := core.(*logqueue.Core); ok {
		return queued.Verbose()
	}
	return core
}

// Init is part of logr.LogSink.
func (s Sink) Init(logr.RuntimeInfo) {}

// Enabled follows klog's verbosity, as upstream's own logger does.
func (s Sink) Enabled(level int) bool {
	return s.logger.Core().Enabled(zapcore.InfoLevel) && klog.V(klog.Level(level)).Enabled()
}

// Info is part of logr.LogSink.
func (s Sink) Info(_ int, message string, keysAndValues ...any) {
	s.logger.Info(message, fields(keysAndValues)...)
}

// Error is part of logr.LogSink.
func (s Sink) Error(err error, message string, keysAndValues ...any) {
	all := append(fields(keysAndValues), zap.Error(err))
	if s.ctx.Err() != nil || unimportant(err, message, keysAndValues) {
		s.plain.Debug(message, all...)
		return
	}
	s.logger.Error(message, all...)
}

// With returns a sink whose lines have the fields.
func (s Sink) With(keysAndValues ...any) Sink {
	all := fields(keysAndValues)
	return Sink{s.logger.With(all...), s.plain.With(all...), s.ctx}
}

// Named returns a sink with name added to its own.
func (s Sink) Named(name string) Sink { return Sink{s.logger.Named(name), s.plain.Named(name), s.ctx} }

// Canceled ends the errors of canceled calls. Most are canceled on purpose, like a watch
// that is no longer needed.
const Canceled = "context canceled"

// unimportant reports whether an operator can ignore an error.
func unimportant(err error, message string, keysAndValues []any) bool {
	if err == nil {
		return Expected(message, pairs(keysAndValues))
	}
	cause := text(err)
	return strings.HasSuffix(cause, Canceled) || Expected(message, cause)
}

// pairs formats the pairs with string values as klog does.
func pairs(keysAndValues []any) string {
	var b strings.Builder
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		if value, ok := keysAndValues[i+1].(string); ok {
			fmt.Fprintf(&b, " %v=%q", keysAndValues[i], value)
		}
	}
	return b.String()
}

// text returns the text of an error of upstream's.
func text(err error) (text string) {
	defer func() { _ = recover() }() // as zap does
	return err.Error()
}

func fields(keysAndValues []any) []zap.Field {
	list := make([]zap.Field, 0, len(keysAndValues)/2+1) // and the error
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		list = append(list, zap.Any(Key(fmt.Sprint(keysAndValues[i])), keysAndValues[i+1]))
	}
	return list
}
