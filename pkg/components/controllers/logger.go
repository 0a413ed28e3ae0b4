package controllers

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/logging"
)

// sink hands to zap what controllers log through the logger of their context, so
// that a line goes to its own control plane's logger and no other's.
type sink struct {
	logger *zap.Logger
	// name is the controller's.
	name string
	// fail ends the run.
	fail context.CancelCauseFunc
}

func newLogger(logger *zap.Logger, fail context.CancelCauseFunc) klog.Logger {
	return logr.New(sink{logging.Lower(logger.WithOptions(zap.WithCaller(false))), unnamed, fail})
}

func (s sink) Init(logr.RuntimeInfo) {}

func (s sink) Enabled(level int) bool {
	return s.logger.Core().Enabled(zapcore.InfoLevel) && klog.V(klog.Level(level)).Enabled()
}

func (s sink) Info(_ int, message string, keysAndValues ...any) {
	s.logger.Info(message, fields(keysAndValues)...)
}

func (s sink) Error(err error, message string, keysAndValues ...any) {
	s.logger.Error(message, append(fields(keysAndValues), zap.Error(err))...)
}

func (s sink) WithValues(keysAndValues ...any) logr.LogSink {
	s.logger = s.logger.With(fields(keysAndValues)...)
	return s
}

func (s sink) WithName(name string) logr.LogSink {
	if s.name == unnamed {
		s.name = name
	}
	s.logger = s.logger.Named(name)
	return s
}

func fields(keysAndValues []any) []zap.Field {
	list := make([]zap.Field, 0, len(keysAndValues)/2+1) // and the error
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		list = append(list, zap.Any(fmt.Sprint(keysAndValues[i]), keysAndValues[i+1]))
	}
	return list
}
