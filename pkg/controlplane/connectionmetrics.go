package controlplane

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubembed/kubembed/internal/connlimit"
)

// The connections of the process are shared by all its control planes.
var (
	connectionsDesc = prometheus.NewDesc("kubembed_connections",
		"Number of open connections, of all listeners and to where clients have them opened.", nil, nil)
	connectionsLimitDesc = prometheus.NewDesc("kubembed_connections_limit",
		"Number of connections that the limit of open files has room for.", nil, nil)
	connectionsClosedDesc = prometheus.NewDesc("kubembed_connections_closed_total",
		"Number of connections that were closed because there were too many for the limit of open files.",
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
	for what, number := range stats.Closed {
		all <- prometheus.MustNewConstMetric(connectionsClosedDesc, prometheus.CounterValue, float64(number), what.Listener, string(what.Client))
	}
}
