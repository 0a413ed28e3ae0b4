package controllers

import (
	"context"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/logging"
)

// sink is where controllers log. It also tells whose goroutine it is that
// panics.
type sink struct {
	logging.Sink
	// name is the controller's, empty before it has one.
	name string
	// fail ends the run.
	fail context.CancelCauseFunc
}

func newLogger(ctx context.Context, logger *zap.Logger, fail context.CancelCauseFunc) klog.Logger {
	return logr.New(sink{Sink: logging.NewSink(ctx, logger), fail: fail})
}

// Panicked is part of containment.Sink.
func (s sink) Panicked(value any) { s.fail(&containment.Error{Part: s.name, Value: value}) }

func (s sink) WithValues(keysAndValues ...any) logr.LogSink {
	s.Sink = s.With(keysAndValues...)
	return s
}

func (s sink) WithName(name string) logr.LogSink {
	if s.name == "" {
		s.name = name
	}
	s.Sink = s.Named(name)
	return s
}
