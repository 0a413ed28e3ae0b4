package controlplane

import (
	"context"
	"slices"
	"sync"

	etcd3metrics "k8s.io/apiserver/pkg/storage/etcd3/metrics"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// The metrics of a process are those of all its control planes, like upstream's.
var (
	snapshotFailures = metrics.NewCounter(&metrics.CounterOpts{
		Name:           "kubembed_snapshot_failures_total",
		Help:           "Number of scheduled snapshots that could not be taken.",
		StabilityLevel: metrics.ALPHA,
	})
	lastSnapshot = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "kubembed_snapshot_last_success_timestamp_seconds",
		Help:           "Unix time of the last scheduled snapshot that was taken.",
		StabilityLevel: metrics.ALPHA,
	})
)

var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(snapshotFailures, lastSnapshot)
})

// monitors are those whose databases are measured in apiserver_storage_size_bytes.
// Upstream has one getter for the process, which dials a client for each look.
var monitors struct {
	sync.Mutex
	servers []*Server
}

// monitor shows the size of the database from now on, and until unmonitor.
func (s *Server) monitor() {
	monitors.Lock()
	defer monitors.Unlock()
	monitors.servers = append(monitors.servers, s)
	etcd3metrics.SetStorageMonitorGetter(storageMonitors)
}

func (s *Server) unmonitor() {
	monitors.Lock()
	defer monitors.Unlock()
	monitors.servers = slices.DeleteFunc(monitors.servers, func(other *Server) bool { return other == s })
}

func storageMonitors() (all []etcd3metrics.Monitor, _ error) {
	monitors.Lock()
	defer monitors.Unlock()
	for _, s := range monitors.servers {
		all = append(all, sizeMonitor{s})
	}
	return all, nil
}

type sizeMonitor struct{ server *Server }

func (m sizeMonitor) Monitor(ctx context.Context) (etcd3metrics.StorageMetrics, error) {
	status, err := m.server.EtcdStatus(ctx)
	return etcd3metrics.StorageMetrics{Size: status.SizeBytes}, err
}

func (sizeMonitor) Close() error { return nil }
