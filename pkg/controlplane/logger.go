// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"sync"

	"go.uber.org/zap"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/klogbridge"
	"github.com/kubembed/kubembed/internal/logqueue"
)

var logLinesDropped = metrics.NewCounterVec(&metrics.CounterOpts{
	Name: "kubembed_log_lines_dropped_total",
	Help: "Number of log lines that did not reach Config.Logger, by reason: full (the Logger does not keep up), " +
		"rate (too many of one kind), failed (the Logger panicked), closed (after the end).",
	StabilityLevel: metrics.ALPHA,
}, []string{"reason"})

// countDropped is called with klog's lock held, and uses counters that exist already.
var countDropped = sync.OnceValue(func() func(reason string, lines int) {
	legacyregistry.MustRegister(logLinesDropped)
	counters := map[string]metrics.CounterMetric{}
	for _, reason := range []string{logqueue.Full, logqueue.Rate, logqueue.Failed, logqueue.Closed} {
		counters[reason] = logLinesDropped.WithLabelValues(reason)
	}
	return func(reason string, lines int) { counters[reason].Add(float64(lines)) }
})

// queueLogger returns logger behind a queue, which klog writes to as well. So a Logger
// that blocks or panics affects no control plane. stopping is called when a stop begins,
// detach when klog may write to others, and closeLog last.
func queueLogger(logger *zap.Logger) (queued *zap.Logger, stopping, detach func(), closeLog func() error) {
	q := logqueue.New(logger, countDropped())
	remove, stopping := klogbridge.AttachUntilStop(q.Logger())
	detach = func() { _ = remove() } // does not wait
	return q.Logger(), stopping, detach, func() error {
		detach()
		if err := q.Close(); err != nil {
			return fieldpath.New("", "Config.Logger", "%w", err)
		}
		return nil
	}
}
