package logging

import (
	"fmt"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/logqueue"
)

// Sink hands to zap what upstream logs through the logger of its context, so
// that a line goes to its own control plane's logger and no other's. It is
// embedded in a logr.LogSink, which adds WithValues and WithName: those return
// what embeds it.
type Sink struct{ logger *zap.Logger }

// NewSink returns a sink that writes as Lower does.
func NewSink(logger *zap.Logger) Sink {
	return Sink{Lower(logger.WithOptions(zap.WithCaller(false), zap.WrapCore(verbose)))}
}

// verbose has a queue leave room for what a host asks for with klog's verbosity.
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
	s.logger.Error(message, append(fields(keysAndValues), zap.Error(err))...)
}

// With returns a sink whose lines have the fields.
func (s Sink) With(keysAndValues ...any) Sink { return Sink{s.logger.With(fields(keysAndValues)...)} }

// Named returns a sink with name added to its own.
func (s Sink) Named(name string) Sink { return Sink{s.logger.Named(name)} }

func fields(keysAndValues []any) []zap.Field {
	list := make([]zap.Field, 0, len(keysAndValues)/2+1) // and the error
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		list = append(list, zap.Any(fmt.Sprint(keysAndValues[i]), keysAndValues[i+1]))
	}
	return list
}
