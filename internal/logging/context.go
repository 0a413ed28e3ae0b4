// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"context"

	"go.uber.org/zap"
)

type contextKey struct{}

// NewContext returns a context with the logger for components without a logger of their
// own.
func NewContext(ctx context.Context, logger *zap.Logger) context.Context {
	return context.WithValue(ctx, contextKey{}, logger)
}

// ForComponent returns a component's logger: configured, or if that is nil the logger of
// NewContext, or else a silent one.
func ForComponent(ctx context.Context, configured *zap.Logger) *zap.Logger {
	if configured != nil {
		return configured
	}
	if logger, ok := ctx.Value(contextKey{}).(*zap.Logger); ok && logger != nil {
		return logger
	}
	return zap.NewNop()
}
