// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/component-base/metrics/legacyregistry"
)

// logInterval is the time between two log lines about events that a sink has missed.
const logInterval = time.Minute

// drops counts the events that a sink has missed.
type drops struct {
	server, sink string
	logger       *zap.Logger
	total        atomic.Int64

	mu       sync.Mutex
	logged   time.Time
	unlogged int
	why      error
}

func newDrops(server, sink string, logger *zap.Logger) *drops {
	return &drops{server: server, sink: sink, logger: logger}
}

// add counts n events. The first are logged at once, and then once in logInterval.
func (d *drops) add(n int, why error) {
	d.total.Add(int64(n))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unlogged += n
	d.why = why
	if time.Since(d.logged) >= logInterval {
		d.log()
	}
}

func (d *drops) log() {
	d.logger.Warn("audit events are lost for a sink", zap.String("sink", d.sink), zap.Int("events", d.unlogged),
		zap.Int64("total", d.total.Load()), zap.NamedError("reason", d.why))
	d.logged, d.unlogged = time.Now(), 0
}

// published are the counters of running servers.
var published = struct {
	sync.Mutex
	all map[*drops]struct{}
}{all: map[*drops]struct{}{}}

func (d *drops) publish() {
	register()
	published.Lock()
	defer published.Unlock()
	published.all[d] = struct{}{}
}

// close logs the rest.
func (d *drops) close() {
	published.Lock()
	delete(published.all, d)
	published.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unlogged > 0 {
		d.log()
	}
}

var register = sync.OnceFunc(func() { legacyregistry.Registerer().MustRegister(Metrics{}) })

var droppedDesc = prometheus.NewDesc("kubembed_audit_events_dropped_total",
	"Number of audit events that a sink of the host has missed, because it was too slow or has failed.", []string{"control_plane", "sink"}, nil)

// Metrics collects the counters of all running servers of the process.
type Metrics struct{}

// Describe implements prometheus.Collector.
func (Metrics) Describe(descs chan<- *prometheus.Desc) { descs <- droppedDesc }

// Collect implements prometheus.Collector.
func (Metrics) Collect(metrics chan<- prometheus.Metric) {
	type key struct{ server, sink string }
	totals := map[key]int64{}
	published.Lock()
	for d := range published.all {
		totals[key{d.server, d.sink}] += d.total.Load()
	}
	published.Unlock()
	for k, total := range totals {
		metrics <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(total), k.server, k.sink)
	}
}
