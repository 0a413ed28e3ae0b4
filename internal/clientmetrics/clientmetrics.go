// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package clientmetrics provides the metrics rest_client_* of kube-apiserver for the
// Kubernetes clients of the process.
//
// Upstream's package, k8s.io/component-base/metrics/prometheus/restclient, is for main
// packages. client-go has one observer per process, so a library that imports that
// package silences controller-runtime's rest_client_requests_total in a program that uses
// both. It also keeps the time series of every host forever, and each control plane is a
// host. This package adds its observers to existing ones, yields to observers that are
// registered later, and deletes the time series of hosts.
package clientmetrics

import (
	"context"
	"net/url"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientgo "k8s.io/client-go/tools/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// client-go's variables have no lock, so only init may set them. The program can still
// call clientgo.Register.
func init() { observe() }

func observe() {
	switch {
	case isNoop(clientgo.RequestResult):
		clientgo.RequestResult = results{}
	case !isUpstream(clientgo.RequestResult):
		clientgo.RequestResult = results{next: clientgo.RequestResult}
	}
	replace[clientgo.LatencyMetric](&clientgo.RequestLatency, latency{requestDuration})
	replace[clientgo.LatencyMetric](&clientgo.RateLimiterLatency, latency{rateLimiterDuration})
	replace[clientgo.SizeMetric](&clientgo.RequestSize, size{requestSize})
	replace[clientgo.SizeMetric](&clientgo.ResponseSize, size{responseSize})
	replace[clientgo.RetryMetric](&clientgo.RequestRetry, retries{})
	replace[clientgo.ExpiryMetric](&clientgo.ClientCertExpiry, execTTL)
	replace[clientgo.DurationMetric](&clientgo.ClientCertRotationAge, rotationAge{})
	replace[clientgo.CallsMetric](&clientgo.ExecPluginCalls, execCalls{})
	replace[clientgo.TransportCacheMetric](&clientgo.TransportCacheEntries, cacheEntries{})
	replace[clientgo.TransportCreateCallsMetric](&clientgo.TransportCreateCalls, createCalls{})
	replace[clientgo.TransportCAReloadsMetric](&clientgo.TransportCAReloads, caReloads{})
	replace[clientgo.TransportCertRotationGCCallsMetric](&clientgo.TransportCertRotationGCCalls, rotationGCCalls{})
	replace[clientgo.TransportCacheGCCallsMetric](&clientgo.TransportCacheGCCalls, cacheGCCalls{})
}

func replace[T any](at *T, by T) {
	if isNoop(*at) {
		*at = by
	}
}

// isNoop reports whether observer is a placeholder of client-go.
func isNoop(observer any) bool { return packageOf(observer) == packageOf(clientgo.RegisterOpts{}) }

// isUpstream reports whether observer is of upstream's package, which the program imports
// and which has metrics with the same names.
func isUpstream(observer any) bool {
	return packageOf(observer) == "k8s.io/component-base/metrics/prometheus/restclient"
}

func packageOf(v any) string {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}

// Register registers the metrics with legacyregistry at its first call, and not at the
// import. A program can then import upstream's package, which must register first: it
// registers when client-go creates the first client, and panics if its names are in use.
// Metrics that are already registered stay.
var Register = sync.OnceFunc(func() {
	clientgo.EnsureRegistered()
	for _, m := range all {
		_ = legacyregistry.Register(m)
	}
	_ = legacyregistry.Registerer().Register(execTTLSeconds)
})

// Forget deletes the time series of a host, in the format host:port.
func Forget(host string) {
	labels := prometheus.Labels{"host": host}
	for _, v := range []interface {
		IsCreated() bool
		DeletePartialMatch(prometheus.Labels) int
	}{requestDuration, rateLimiterDuration, requestSize, responseSize, requests, requestRetries} {
		if v.IsCreated() {
			v.DeletePartialMatch(labels)
		}
	}
}

// results counts requests, and calls the previous observer.
type results struct{ next clientgo.ResultMetric }

func (r results) Increment(ctx context.Context, code, method, host string) {
	requests.WithLabelValues(code, method, host).Inc()
	if r.next != nil {
		r.next.Increment(ctx, code, method, host)
	}
}

type latency struct{ seconds *histogramVec }

func (l latency) Observe(_ context.Context, verb string, u url.URL, d time.Duration) {
	l.seconds.WithLabelValues(verb, u.Host).Observe(d.Seconds())
}

type size struct{ bytes *histogramVec }

func (s size) Observe(_ context.Context, verb, host string, bytes float64) {
	s.bytes.WithLabelValues(verb, host).Observe(bytes)
}

type retries struct{}

func (retries) IncrementRetry(_ context.Context, code, method, host string) {
	requestRetries.WithLabelValues(code, method, host).Inc()
}

type rotationAge struct{}

func (rotationAge) Observe(age time.Duration) { execRotationAge.Observe(age.Seconds()) }

type execCalls struct{}

func (execCalls) Increment(code int, status string) {
	execPluginCalls.WithLabelValues(strconv.Itoa(code), status).Inc()
}

type cacheEntries struct{}

func (cacheEntries) Observe(entries int) { transportEntries.Set(float64(entries)) }

type createCalls struct{}

func (createCalls) Increment(result string) { transportCreateCalls.WithLabelValues(result).Inc() }

type caReloads struct{}

func (caReloads) Increment(result, reason string) {
	transportCAReloads.WithLabelValues(result, reason).Inc()
}

type rotationGCCalls struct{}

func (rotationGCCalls) Increment() { transportRotationGCCalls.Inc() }

type cacheGCCalls struct{}

func (cacheGCCalls) Increment(result string) { transportGCCalls.WithLabelValues(result).Inc() }
