// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Measured is what a server counts.
type Measured struct {
	// Server names it in metrics. Servers of one name are added up.
	Server       string
	Requests     *lifecycle.Group
	Certificates *Certificates
}

// published are the running servers.
var published = struct {
	sync.Mutex
	all map[*Measured]struct{}
}{all: map[*Measured]struct{}{}}

// Publish adds the metrics of a server to legacyregistry and Metrics until withdraw.
func (m *Measured) Publish() (withdraw func()) {
	register()
	published.Lock()
	defer published.Unlock()
	published.all[m] = struct{}{}
	return func() {
		published.Lock()
		defer published.Unlock()
		delete(published.all, m)
	}
}

var register = sync.OnceFunc(func() { legacyregistry.Registerer().MustRegister(Metrics{}) })

const controlPlane = "control_plane"

var (
	requestsDesc = prometheus.NewDesc("kubembed_requests_total",
		"Number of requests that the API server has received, from clients and from the control plane itself.", []string{controlPlane}, nil)
	inFlightDesc = prometheus.NewDesc("kubembed_requests_in_flight",
		"Number of requests that the API server works on, with watches.", []string{controlPlane}, nil)
	reloadsDesc = prometheus.NewDesc("kubembed_serving_certificate_reloads_total",
		"Number of reloads of changed certificate files of Config.Serving, by result. After a failure the former certificate stays.", []string{controlPlane, "status"}, nil)
)

// Metrics collects the metrics of all running servers of the process.
type Metrics struct{}

// Describe implements prometheus.Collector.
func (Metrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- requestsDesc
	descs <- inFlightDesc
	descs <- reloadsDesc
}

// Collect implements prometheus.Collector.
func (Metrics) Collect(all chan<- prometheus.Metric) {
	type counts struct {
		received, inFlight, succeeded, failed int64
		files                                 bool
	}
	servers := map[string]counts{}
	published.Lock()
	for m := range published.all {
		c := servers[m.Server]
		received, inFlight := m.Requests.Counts()
		succeeded, failed, files := m.Certificates.Reloads()
		servers[m.Server] = counts{c.received + received, c.inFlight + inFlight, c.succeeded + succeeded, c.failed + failed, c.files || files}
	}
	published.Unlock()
	put := func(desc *prometheus.Desc, kind prometheus.ValueType, value int64, labels ...string) {
		all <- prometheus.MustNewConstMetric(desc, kind, float64(value), labels...)
	}
	for server, c := range servers {
		put(requestsDesc, prometheus.CounterValue, c.received, server)
		put(inFlightDesc, prometheus.GaugeValue, c.inFlight, server)
		if c.files {
			put(reloadsDesc, prometheus.CounterValue, c.succeeded, server, "success") // upstream's values
			put(reloadsDesc, prometheus.CounterValue, c.failed, server, "failure")
		}
	}
}
