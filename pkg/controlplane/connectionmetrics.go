// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubembed/kubembed/internal/connlimit"
)

// All control planes of a process share its connections.
var (
	connectionsDesc = prometheus.NewDesc("kubembed_connections",
		"Number of open connections: of all listeners, and those opened for clients.", nil, nil)
	connectionsLimitDesc = prometheus.NewDesc("kubembed_connections_limit",
		"Number of connections that the limit of open files allows.", nil, nil)
	connectionsClosedDesc = prometheus.NewDesc("kubembed_connections_closed_total",
		"Number of connections that were closed because of the limit of open files.",
		[]string{"listener", "client"}, nil)
)

type connectionMetrics struct{}

func (connectionMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- connectionsDesc
	descs <- connectionsLimitDesc
	descs <- connectionsClosedDesc
}

func (connectionMetrics) Collect(all chan<- prometheus.Metric) {
	stats := connlimit.Process.Stats()
	all <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(stats.Open))
	all <- prometheus.MustNewConstMetric(connectionsLimitDesc, prometheus.GaugeValue, float64(stats.Capacity))
	for kind, number := range stats.Closed {
		all <- prometheus.MustNewConstMetric(connectionsClosedDesc, prometheus.CounterValue, float64(number), kind.Listener, string(kind.Client))
	}
}
