// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package tracing contains a TracerProvider of the host.
package tracing

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// Contain returns provider for the server. Panics of the host's tracers, samplers and
// exporters are logged, and requests and calls of etcd go on without the span or the
// event: some of them are in goroutines where a panic would end the process. Child spans
// are contained too, since they come from the provider of their parent. A nil provider
// stays nil.
func Contain(provider trace.TracerProvider) trace.TracerProvider {
	if provider == nil {
		return nil
	}
	return containedProvider{provider}
}

// call calls f, a call of the host.
func call(ctx context.Context, name string, f func()) {
	defer func() {
		if panicked := recover(); panicked != nil {
			utilruntime.HandleErrorWithContext(ctx, fmt.Errorf("panic: %v", panicked), "The host's provider of traces panicked", "field", "Config.TracerProvider", "call", name)
		}
	}()
	f()
}

type containedProvider struct{ trace.TracerProvider }

func (p containedProvider) Tracer(name string, options ...trace.TracerOption) trace.Tracer {
	var tracer trace.Tracer = noop.Tracer{}
	call(context.Background(), "Tracer", func() { tracer = p.TracerProvider.Tracer(name, options...) })
	return containedTracer{tracer, p}
}

type containedTracer struct {
	trace.Tracer
	provider containedProvider
}

// Start gives the host its own parent span, which its tracer may know.
func (t containedTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	started, span := ctx, trace.Span(noop.Span{})
	call(ctx, "Start", func() {
		inner := ctx
		if parent, ok := trace.SpanFromContext(ctx).(containedSpan); ok {
			inner = trace.ContextWithSpan(ctx, parent.Span)
		}
		inner, span = t.Tracer.Start(inner, name, options...)
		span = containedSpan{span, t.provider}
		started = trace.ContextWithSpan(inner, span)
	})
	return started, span
}

type containedSpan struct {
	trace.Span
	provider containedProvider
}

func (s containedSpan) call(name string, f func()) { call(context.Background(), name, f) }

func (s containedSpan) End(options ...trace.SpanEndOption) {
	s.call("End", func() { s.Span.End(options...) })
}

func (s containedSpan) AddEvent(name string, options ...trace.EventOption) {
	s.call("AddEvent", func() { s.Span.AddEvent(name, options...) })
}

func (s containedSpan) AddLink(link trace.Link) {
	s.call("AddLink", func() { s.Span.AddLink(link) })
}

func (s containedSpan) IsRecording() (recording bool) {
	s.call("IsRecording", func() { recording = s.Span.IsRecording() })
	return recording
}

func (s containedSpan) RecordError(err error, options ...trace.EventOption) {
	s.call("RecordError", func() { s.Span.RecordError(err, options...) })
}

func (s containedSpan) SpanContext() (spanContext trace.SpanContext) {
	s.call("SpanContext", func() { spanContext = s.Span.SpanContext() })
	return spanContext
}

func (s containedSpan) SetStatus(code codes.Code, description string) {
	s.call("SetStatus", func() { s.Span.SetStatus(code, description) })
}

func (s containedSpan) SetName(name string) {
	s.call("SetName", func() { s.Span.SetName(name) })
}

func (s containedSpan) SetAttributes(attributes ...attribute.KeyValue) {
	s.call("SetAttributes", func() { s.Span.SetAttributes(attributes...) })
}

func (s containedSpan) TracerProvider() trace.TracerProvider { return s.provider }
