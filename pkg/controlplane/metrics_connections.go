package controlplane

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/kubembed/kubembed/internal/connlimit"
)

// registerConnectionMetrics shows the connections of the process, which all its
// control planes share.
var registerConnectionMetrics = sync.OnceFunc(func() {
	legacyregistry.CustomMustRegister(&connectionMetrics{})
})

var (
	connectionsDesc = metrics.NewDesc("kubembed_connections",
		"Number of open connections, of all listeners and to where clients have them opened.",
		nil, nil, metrics.ALPHA, "")
	connectionsLimitDesc = metrics.NewDesc("kubembed_connections_limit",
		"Number of connections that the limit of open files has room for.",
		nil, nil, metrics.ALPHA, "")
	connectionsClosedDesc = metrics.NewDesc("kubembed_connections_closed_total",
		"Number of connections that were closed because there were too many for the limit of open files.",
		[]string{"listener", "client"}, nil, metrics.ALPHA, "")
)

type connectionMetrics struct{ metrics.BaseStableCollector }

func (*connectionMetrics) DescribeWithStability(descs chan<- *metrics.Desc) {
	descs <- connectionsDesc
	descs <- connectionsLimitDesc
	descs <- connectionsClosedDesc
}

func (*connectionMetrics) CollectWithStability(all chan<- metrics.Metric) {
	stats := connlimit.Process.Stats()
	all <- metrics.NewLazyConstMetric(connectionsDesc, metrics.GaugeValue, float64(stats.Open))
	all <- metrics.NewLazyConstMetric(connectionsLimitDesc, metrics.GaugeValue, float64(stats.Capacity))
	for what, number := range stats.Closed {
		all <- metrics.NewLazyConstMetric(connectionsClosedDesc, metrics.CounterValue, float64(number), what.Listener, string(what.Client))
	}
}
