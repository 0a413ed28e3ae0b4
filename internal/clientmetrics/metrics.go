// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientmetrics

import (
	"math"
	"sync"
	"time"

	"k8s.io/component-base/metrics"
)

type histogramVec = metrics.HistogramVec

// The metrics have the names, help, labels and buckets of upstream, which TestAsUpstream
// compares.
var (
	seconds = []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0}
	bytes   = []float64{64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216}

	requestDuration = histogram("rest_client_request_duration_seconds",
		"Request latency in seconds. Broken down by verb, and host.", seconds, "verb", "host")
	requestSize = histogram("rest_client_request_size_bytes",
		"Request size in bytes. Broken down by verb and host.", bytes, "verb", "host")
	responseSize = histogram("rest_client_response_size_bytes",
		"Response size in bytes. Broken down by verb and host.", bytes, "verb", "host")
	rateLimiterDuration = histogram("rest_client_rate_limiter_duration_seconds",
		"Client side rate limiter latency in seconds. Broken down by verb, and host.", seconds, "verb", "host")
	requests = counter("rest_client_requests_total",
		"Number of HTTP requests, partitioned by status code, method, and host.", "code", "method", "host")
	requestRetries = counter("rest_client_request_retries_total",
		"Number of request retries, partitioned by status code, verb, and host.", "code", "verb", "host")
	execTTLSeconds = metrics.NewGaugeFunc(&metrics.GaugeOpts{
		Name: "rest_client_exec_plugin_ttl_seconds",
		Help: "Gauge of the shortest TTL (time-to-live) of the client certificate(s) managed by the auth exec plugin. " +
			"The value is in seconds until certificate expiry (negative if already expired). If auth exec plugins are unused " +
			"or manage no TLS certificates, the value will be +INF.",
		StabilityLevel: metrics.ALPHA,
	}, execTTL.seconds)
	execRotationAge = metrics.NewHistogram(&metrics.HistogramOpts{
		Name: "rest_client_exec_plugin_certificate_rotation_age",
		Help: "Histogram of the number of seconds the last auth exec plugin client certificate lived before being rotated. " +
			"If auth exec plugin client certificates are unused, histogram will contain no data.",
		StabilityLevel: metrics.ALPHA,
		Buckets:        []float64{600, 1800, 3600, 14400, 86400, 604800, 2592000, 7776000, 15552000, 31104000, 124416000},
	})
	execPluginCalls = counter("rest_client_exec_plugin_call_total",
		"Number of calls to an exec plugin, partitioned by the type of event encountered (no_error, plugin_execution_error, "+
			"plugin_not_found_error, client_internal_error) and an optional exit code. The exit code will be set to 0 if and only if "+
			"the plugin call was successful.", "code", "call_status")
	transportEntries = metrics.NewGauge(&metrics.GaugeOpts{
		Name: "rest_client_transport_cache_entries", Help: "Number of transport entries in the internal cache.", StabilityLevel: metrics.ALPHA,
	})
	transportCreateCalls = counter("rest_client_transport_create_calls_total",
		"Number of calls to get a new transport, partitioned by the result of the operation hit: obtained from the cache, "+
			"miss: created and added to the cache, miss-gc: recreated and added back to the cache after being garbage collected, "+
			"uncacheable: created and not cached", "result")
	transportCAReloads = counter("rest_client_transport_ca_reload_total",
		"Number of times a CA reload is attempted, partitioned by the result and reason for the reload attempt", "result", "reason")
	transportRotationGCCalls = metrics.NewCounter(&metrics.CounterOpts{
		Name:           "rest_client_transport_cert_rotation_gc_calls_total",
		Help:           "Number of times a cert rotation goroutine cancel func is called via GC cleanup of the associated transport",
		StabilityLevel: metrics.ALPHA,
	})
	transportGCCalls = counter("rest_client_transport_cache_gc_calls_total",
		"Number of times a GC cleanup attempts to delete a transport cache entry, partitioned by the result: deleted, skipped", "result")

	all = []metrics.Registerable{
		requestDuration, requestSize, responseSize, rateLimiterDuration, requests, requestRetries, execRotationAge, execPluginCalls,
		transportEntries, transportCreateCalls, transportCAReloads, transportRotationGCCalls, transportGCCalls,
	}
)

func histogram(name, help string, buckets []float64, labels ...string) *metrics.HistogramVec {
	return metrics.NewHistogramVec(&metrics.HistogramOpts{Name: name, Help: help, Buckets: buckets, StabilityLevel: metrics.ALPHA}, labels)
}

func counter(name, help string, labels ...string) *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA}, labels)
}

// execTTL is the earliest expiry of certificates of exec plugins.
var execTTL = &expiry{}

type expiry struct {
	mu sync.Mutex
	at *time.Time
}

func (e *expiry) Set(at *time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at = at
}

func (e *expiry) seconds() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at == nil {
		return math.Inf(1)
	}
	return time.Until(*e.at).Seconds()
}
