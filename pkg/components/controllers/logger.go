// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/logging"
)

// sink receives the log of controllers. It also identifies the controller of a goroutine
// that panics.
type sink struct {
	logging.Sink
	// name is the name of the controller, or empty.
	name string
	// fail ends the run with an error.
	fail context.CancelCauseFunc
}

func newLogger(ctx context.Context, logger *zap.Logger, fail context.CancelCauseFunc) klog.Logger {
	return logr.New(sink{Sink: logging.NewSink(ctx, logger), fail: fail})
}

// Panicked implements containment.Sink.
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
