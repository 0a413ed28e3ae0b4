// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/tracing"
)

// configureTracing gives the host's provider the spans of requests. The other one of its
// users is the backend: see storage.Backend.Trace.
func configureTracing(e *environment, c *genericapiserver.Config) {
	if e.config.TracerProvider != nil {
		c.TracerProvider = hostTracerProvider{e.config.TracerProvider}
	}
}

// hostTracerProvider belongs to the host: upstream shuts its provider down when the
// server ends.
type hostTracerProvider struct{ oteltrace.TracerProvider }

func (hostTracerProvider) Shutdown(context.Context) error { return nil }

// propagateTrace returns a function that puts the trace in the context of a client in
// this process into a request's header, as a tracing client does for a request over a
// network. It is nil without a TracerProvider.
func (c Config) propagateTrace() func(context.Context, http.Header) {
	if c.TracerProvider == nil {
		return nil
	}
	propagators := tracing.Propagators()
	return func(ctx context.Context, header http.Header) {
		propagators.Inject(ctx, propagation.HeaderCarrier(header))
	}
}
