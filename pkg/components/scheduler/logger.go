// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"context"
	"strings"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/logging"
)

// sink receives the log of the scheduler.
type sink struct {
	logging.Sink
	// corrupted is called when upstream logs that its cache is corrupted.
	corrupted func()
}

func newLogger(ctx context.Context, logger *zap.Logger, corrupted func()) klog.Logger {
	return logr.New(sink{logging.NewSink(ctx, logger), corrupted})
}

func (s sink) Error(err error, message string, keysAndValues ...any) {
	s.Sink.Error(err, message, keysAndValues...)
	if strings.Contains(message, cacheCorrupted) {
		s.corrupted()
	}
}

func (s sink) WithValues(keysAndValues ...any) logr.LogSink {
	s.Sink = s.With(keysAndValues...)
	return s
}

func (s sink) WithName(name string) logr.LogSink {
	s.Sink = s.Named(name)
	return s
}
