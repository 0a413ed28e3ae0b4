// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	etcd3metrics "k8s.io/apiserver/pkg/storage/etcd3/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/kubembed/kubembed/internal/apiserver/audit"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/clientmetrics"
)

// measured holds the counters of a control plane. A host may keep its Gatherer forever,
// so it does not hold the Server after the stop.
type measured struct {
	name      string // see newMeasured
	server    atomic.Pointer[Server]
	scheduled atomic.Bool  // whether there are scheduled snapshots
	failures  atomic.Int64 // of scheduled snapshots
	last      atomic.Int64 // Unix time of the last snapshot
}

// planes are the running control planes of the process.
var planes struct {
	sync.Mutex
	running []*measured
	// gathered are the control planes whose Metrics was called, in this order.
	gathered []*measured
	names    map[string]bool // of the control planes that run or start
}

// newMeasured returns the counters of a control plane until unmeasure. Its name is the
// address of its listener. If another control plane has the same, as two listeners in
// memory may, a number follows.
func newMeasured(address string) *measured {
	planes.Lock()
	defer planes.Unlock()
	name := address
	for i := 2; planes.names[name]; i++ {
		name = fmt.Sprintf("%s#%d", address, i)
	}
	if planes.names == nil {
		planes.names = map[string]bool{}
	}
	planes.names[name] = true
	return &measured{name: name}
}

// controlPlane is the label that names a control plane.
const controlPlane = "control_plane"

// The metrics of one control plane.
var (
	snapshotFailuresDesc = prometheus.NewDesc("kubembed_snapshot_failures_total",
		"Number of scheduled snapshots that could not be taken.", []string{controlPlane}, nil)
	lastSnapshotDesc = prometheus.NewDesc("kubembed_snapshot_last_success_timestamp_seconds",
		"Unix time of the last scheduled snapshot that was taken, or 0.", []string{controlPlane}, nil)
	databaseSizeDesc = prometheus.NewDesc("kubembed_etcd_database_size_bytes",
		"Size of the etcd database on disk.", []string{controlPlane}, nil)
	databaseInUseDesc = prometheus.NewDesc("kubembed_etcd_database_in_use_bytes",
		"How much of the etcd database is in use.", []string{controlPlane}, nil)
	databaseQuotaDesc = prometheus.NewDesc("kubembed_etcd_database_quota_bytes",
		"Size of the etcd database at which writes are refused.", []string{controlPlane}, nil)

	planeDescs = []*prometheus.Desc{snapshotFailuresDesc, lastSnapshotDesc, databaseSizeDesc, databaseInUseDesc, databaseQuotaDesc}
)

// planeCollector collects the metrics of all running control planes.
type planeCollector struct{}

func (planeCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range planeDescs {
		descs <- desc
	}
}

func (planeCollector) Collect(all chan<- prometheus.Metric) {
	planes.Lock()
	running := slices.Clone(planes.running)
	planes.Unlock()
	for _, m := range running {
		m.collect(all)
	}
}

func (m *measured) collect(all chan<- prometheus.Metric) {
	put := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
		all <- prometheus.MustNewConstMetric(desc, kind, value, m.name)
	}
	if m.scheduled.Load() {
		put(snapshotFailuresDesc, prometheus.CounterValue, float64(m.failures.Load()))
		put(lastSnapshotDesc, prometheus.GaugeValue, float64(m.last.Load()))
	}
	s := m.server.Load()
	if s == nil {
		return
	}
	if s.member != nil {
		status := s.member.Status()
		put(databaseSizeDesc, prometheus.GaugeValue, float64(status.SizeBytes))
		put(databaseInUseDesc, prometheus.GaugeValue, float64(status.InUseBytes))
		put(databaseQuotaDesc, prometheus.GaugeValue, float64(status.QuotaBytes))
	}
}

func (m *measured) snapshotFailed() { m.failures.Add(1) }

func (m *measured) snapshotTaken(at time.Time) { m.last.Store(at.Unix()) }

// planeRegistry has the metrics of control planes only.
var planeRegistry = prometheus.NewRegistry()

// registerMetrics also registers metrics with legacyregistry. API servers register theirs
// there.
var registerMetrics = sync.OnceFunc(func() {
	planeRegistry.MustRegister(planeCollector{}, audit.Metrics{}, serving.Metrics{})
	legacyregistry.Registerer().MustRegister(planeCollector{}, connectionMetrics{})
})

// measure adds the metrics of the control plane until unmeasure.
func (s *Server) measure() {
	planes.Lock()
	defer planes.Unlock()
	planes.running = append(planes.running, s.measured)
	etcd3metrics.SetStorageMonitorGetter(storageMonitors) // upstream's is set by each API server
}

func (s *Server) unmeasure() {
	if s.measured == nil {
		return
	}
	planes.Lock()
	defer planes.Unlock()
	own := func(m *measured) bool { return m == s.measured }
	planes.running = slices.DeleteFunc(planes.running, own)
	planes.gathered = slices.DeleteFunc(planes.gathered, own)
	delete(planes.names, s.measured.name)
	s.measured.server.Store(nil)
}

// forgetClients deletes the time series of this control plane's clients.
func (s *Server) forgetClients() {
	if s.listener == nil {
		return
	}
	clientmetrics.Forget(s.listener.Addr().String())
	for _, host := range []string{"127.0.0.1", s.advertise.String()} {
		clientmetrics.Forget(net.JoinHostPort(host, port(s.listener)))
	}
}

// storageMonitors measure apiserver_storage_size_bytes. Upstream has one getter for the
// process, which dials a client for each measurement.
func storageMonitors() (all []etcd3metrics.Monitor, _ error) {
	planes.Lock()
	defer planes.Unlock()
	for _, m := range planes.running {
		if s := m.server.Load(); s != nil {
			all = append(all, sizeMonitor{s})
		}
	}
	return all, nil
}

type sizeMonitor struct{ server *Server }

func (m sizeMonitor) Monitor(ctx context.Context) (etcd3metrics.StorageMetrics, error) {
	status, err := m.server.EtcdStatus(ctx)
	return etcd3metrics.StorageMetrics{Size: status.SizeBytes}, err
}

func (sizeMonitor) Close() error { return nil }
