// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// TestContainPanics calls all methods of a provider, a tracer and a span that panic.
func TestContainPanics(t *testing.T) {
	if Contain(nil) != nil {
		t.Error("a nil provider is not nil any more")
	}
	ctx, span := Contain(broken{}).Tracer("any").Start(t.Context(), "any")
	if ctx == nil || span.IsRecording() {
		t.Errorf("got %v and %v of a provider that panics", ctx, span)
	}
	_, span = Contain(provider{tracer: nilTracer{}}).Tracer("any").Start(t.Context(), "any")
	if span.SpanContext().IsValid() {
		t.Errorf("got %v of a tracer that panics", span)
	}
	ctx, span = Contain(provider{tracer: tracer{}}).Tracer("any").Start(t.Context(), "any")
	_, child := trace.SpanFromContext(ctx).TracerProvider().Tracer("any").Start(ctx, "child")
	for _, span := range []trace.Span{span, child} {
		if _, ok := span.(containedSpan); !ok {
			t.Errorf("got a %T", span)
		}
		for _, method := range reflect.ValueOf(span).Methods() {
			var arguments []reflect.Value
			for in := range method.Type().NumIn() {
				if in < method.Type().NumIn()-1 || !method.Type().IsVariadic() {
					arguments = append(arguments, reflect.Zero(method.Type().In(in)))
				}
			}
			method.Call(arguments)
		}
		span.RecordError(errors.New("any"))
		span.SetStatus(codes.Error, "any")
	}
}

// TestContainKeepsSpans: the spans are the ones without Contain, with their parents.
func TestContainKeepsSpans(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	ctx, parent := Contain(sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))).Tracer("any").Start(t.Context(), "parent")
	_, child := parent.TracerProvider().Tracer("any").Start(ctx, "child")
	child.AddEvent("event")
	child.End()
	parent.End()
	spans := exporter.GetSpans()
	if len(spans) != 2 || spans[0].Parent.SpanID() != parent.SpanContext().SpanID() || len(spans[0].Events) != 1 || spans[1].ChildSpanCount != 1 {
		t.Errorf("got %+v", spans)
	}
}

// broken is a provider that panics.
type broken struct{ noop.TracerProvider }

func (broken) Tracer(string, ...trace.TracerOption) trace.Tracer { panic("the host's provider") }

// provider has a tracer.
type provider struct {
	noop.TracerProvider
	tracer trace.Tracer
}

func (p provider) Tracer(string, ...trace.TracerOption) trace.Tracer { return p.tracer }

// nilTracer panics.
type nilTracer struct{ trace.Tracer }

// tracer has spans that panic.
type tracer struct{ noop.Tracer }

func (tracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	return ctx, nilSpan{}
}

// nilSpan panics in all methods.
type nilSpan struct{ trace.Span }
