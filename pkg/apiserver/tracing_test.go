// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestTraceOfAClient: the server forwards a client's trace to webhooks, and creates none.
func TestTraceOfAClient(t *testing.T) {
	const trace, baggage = "0af7651916cd43dd8448eb211c80319c", "team=blue"
	p := sharedPlane(t)
	ns := p.namespace(t)
	seen := make(chan http.Header, 1)
	server := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case seen <- r.Header.Clone():
		default:
		}
		http.Error(w, "seen", http.StatusTeapot)
	})
	p.validatingWebhook(t, ns, admissionregistrationv1.WebhookClientConfig{
		URL:      &server.URL,
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}, admissionregistrationv1.Fail)
	create := func(headers ...string) (got http.Header) {
		t.Helper()
		testwait.Until(t, "the webhook is called", func(context.Context) error {
			p.call(t, p.inProcess(t), http.MethodPost, "/api/v1/namespaces/"+ns+"/pods?dryRun=All",
				`{"metadata":{"name":"any"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, headers...)
			select {
			case got = <-seen:
				return nil
			default:
				return errors.New("it was not")
			}
		})
		return got
	}
	got := create("Traceparent: 00-"+trace+"-b7ad6b7169203331-01", "Baggage: "+baggage)
	if parent := got.Get("Traceparent"); !strings.Contains(parent, trace) || got.Get("Baggage") != baggage {
		t.Errorf("got Traceparent %q, Baggage %q at the webhook, want the client's", parent, got.Get("Baggage"))
	}
	if got = create(); got.Get("Traceparent") != "" || got.Get("Baggage") != "" {
		t.Errorf("request without a trace: got Traceparent %q, Baggage %q, want none", got.Get("Traceparent"), got.Get("Baggage"))
	}
}

// TestTraceToTheStore: one trace goes from a client in the process through the request to
// etcd. The provider stays the host's when the server has stopped.
func TestTraceToTheStore(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	p := startPlane(t, func(c *apiserver.Config) { c.TracerProvider = provider })
	ctx, root := provider.Tracer("host").Start(t.Context(), "host")
	_, err := p.admin().CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "traced"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root.End()
	const request, write = "POST /api/v1/namespaces/{:namespace}/configmaps", "etcdserverpb.KV/Txn"
	// The server ends the span of the request after its answer.
	testwait.Until(t, "the spans", func(context.Context) error {
		of := map[oteltrace.SpanID]tracetest.SpanStub{}
		for _, span := range exporter.GetSpans() {
			if span.SpanContext.TraceID() == root.SpanContext().TraceID() {
				of[span.SpanContext.SpanID()] = span
			}
		}
		for _, span := range of {
			if span.Name != write {
				continue
			}
			for span.Name != request && span.Parent.IsValid() {
				span = of[span.Parent.SpanID()]
			}
			if span.Name == request && span.Parent.SpanID() == root.SpanContext().SpanID() {
				return nil
			}
		}
		var names []string
		for _, span := range of {
			names = append(names, span.Name)
		}
		return errors.New("got " + strings.Join(names, ", "))
	})

	// Another user's trace is linked, as by kube-apiserver.
	other := must(p.ClientConfigAs("alice"))(t)
	exporter.Reset()
	_, _ = kubernetes.NewForConfigOrDie(other).CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	testwait.Until(t, "the link", func(context.Context) error {
		for _, span := range exporter.GetSpans() {
			if len(span.Links) == 1 && span.Links[0].SpanContext.SpanID() == root.SpanContext().SpanID() {
				return nil
			}
		}
		return errors.New("no span has it")
	})

	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, span := provider.Tracer("host").Start(t.Context(), "later"); !span.IsRecording() {
		t.Error("the stop has shut the host's provider down")
	}
}

// TestTracerProviderPanics: requests and calls of etcd go on without a span that the
// host's provider cannot make, and with spans that panic.
func TestTracerProviderPanics(t *testing.T) {
	provider := &panickingProvider{TracerProvider: sdktrace.NewTracerProvider()}
	p := startPlane(t, func(c *apiserver.Config) { c.TracerProvider = provider })
	for _, in := range []string{"otelgrpc", "otelhttp", "spans"} {
		provider.in.Store(in)
		must(p.admin().CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: in}}, metav1.CreateOptions{}))(t)
		must(p.admin().CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}))(t)
		p.get(t, "/version").want(t, http.StatusOK)
		if provider.panics.Swap(0) == 0 {
			t.Errorf("%s: the provider has not panicked", in)
		}
	}
	if provider.children.Load() == 0 {
		t.Error("no child span has panicked")
	}
}

// panickingProvider panics in tracers whose name ends with in, or in spans.
type panickingProvider struct {
	oteltrace.TracerProvider
	in               atomic.Value
	panics, children atomic.Int64
}

func (p *panickingProvider) Tracer(name string, opts ...oteltrace.TracerOption) oteltrace.Tracer {
	return panickingTracer{p.TracerProvider.Tracer(name, opts...), p, name}
}

type panickingTracer struct {
	oteltrace.Tracer
	provider *panickingProvider
	name     string
}

func (t panickingTracer) Start(ctx context.Context, name string, opts ...oteltrace.SpanStartOption) (context.Context, oteltrace.Span) {
	in, ok := t.provider.in.Load().(string)
	if ok && strings.HasSuffix(t.name, in) {
		t.provider.panics.Add(1)
		panic("the host's tracer")
	}
	_, child := oteltrace.SpanFromContext(ctx).(panickingSpan)
	ctx, span := t.Tracer.Start(ctx, name, opts...)
	if in == "spans" {
		span = panickingSpan{span, t.provider, child}
		ctx = oteltrace.ContextWithSpan(ctx, span)
	}
	return ctx, span
}

// panickingSpan panics where upstream calls it.
type panickingSpan struct {
	oteltrace.Span
	provider *panickingProvider
	child    bool
}

func (s panickingSpan) panic() {
	s.provider.panics.Add(1)
	if s.child {
		s.provider.children.Add(1)
	}
	panic("the host's span")
}

func (s panickingSpan) End(...oteltrace.SpanEndOption)              { s.panic() }
func (s panickingSpan) AddEvent(string, ...oteltrace.EventOption)   { s.panic() }
func (s panickingSpan) SetAttributes(...attribute.KeyValue)         { s.panic() }
func (s panickingSpan) SetStatus(codes.Code, string)                { s.panic() }
func (s panickingSpan) RecordError(error, ...oteltrace.EventOption) { s.panic() }
func (s panickingSpan) TracerProvider() oteltrace.TracerProvider    { return s.provider }
