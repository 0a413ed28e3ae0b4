// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Metrics returns the metrics that prometheus.DefaultGatherer lacks: this control
// plane's, with the label control_plane, see the package documentation, and the
// Kubernetes code's for the whole process. A host serves both:
//
//	all := prometheus.Gatherers{prometheus.DefaultGatherer, cp.Metrics()}
//	http.Handle("/metrics", promhttp.HandlerFor(all, promhttp.HandlerOpts{}))
//
// Metrics of the process that are in both, such as go_* and process_*, are left to the
// DefaultGatherer, which also has etcd's. Gatherers of several control planes can
// be combined too. The metrics of the process are then in the Gatherer of the first
// running control plane whose Metrics was called, so that they are counted once. The
// Gatherer of a stopped control plane returns no metrics and no error.
//
// Clients get the metrics of one control plane and of the process at /metrics of the API
// server, with an embedded etcd's, and without the host's.
func (s *Server) Metrics() prometheus.Gatherer {
	planes.Lock()
	defer planes.Unlock()
	if slices.Contains(planes.running, s.measured) && !slices.Contains(planes.gathered, s.measured) {
		planes.gathered = append(planes.gathered, s.measured)
	}
	return gatherer{s.measured}
}

// defaultGatherer is the registry of upstream's packages and etcd. A host may add Metrics
// to prometheus.DefaultGatherer.
var defaultGatherer = prometheus.DefaultGatherer

// gatherer gathers for the host.
type gatherer struct{ of *measured }

func (g gatherer) Gather() ([]*dto.MetricFamily, error) {
	running, first := g.of.state()
	switch {
	case !running:
		return nil, nil
	case !first:
		families, err := planeRegistry.Gather()
		return g.of.only(families), err
	}
	families, err := legacyregistry.DefaultGatherer.Gather()
	// Its own Gather reports errors of its collectors.
	registered, _ := defaultGatherer.Gather()
	present := familyNames(registered)
	families = slices.DeleteFunc(families, func(family *dto.MetricFamily) bool { return present[family.GetName()] })
	return g.of.only(families), err
}

// state reports whether the control plane runs, and whether its Gatherer has the metrics
// of the process.
func (m *measured) state() (running, first bool) {
	planes.Lock()
	defer planes.Unlock()
	return slices.Contains(planes.running, m), len(planes.gathered) > 0 && planes.gathered[0] == m
}

// only removes the metrics of other control planes.
func (m *measured) only(families []*dto.MetricFamily) []*dto.MetricFamily {
	others := func(metric *dto.Metric) bool {
		return slices.ContainsFunc(metric.Label, func(label *dto.LabelPair) bool {
			return label.GetName() == controlPlane && label.GetValue() != m.name
		})
	}
	return slices.DeleteFunc(families, func(family *dto.MetricFamily) bool {
		if !strings.HasPrefix(family.GetName(), "kubembed_") {
			return false
		}
		family.Metric = slices.DeleteFunc(family.Metric, others)
		return len(family.Metric) == 0
	})
}

func familyNames(families []*dto.MetricFamily) map[string]bool {
	all := make(map[string]bool, len(families))
	for _, family := range families {
		all[family.GetName()] = true
	}
	return all
}

// served gathers for clients of the API server.
type served struct {
	of   *measured
	etcd bool // runs in this process
}

// etcdPrefixes begin the names of etcd's metrics. The default registry has the host's
// metrics too.
var etcdPrefixes = []string{"etcd_", "grpc_server_", "os_fd_"}

func (g served) Gather() ([]*dto.MetricFamily, error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	families = g.of.only(families)
	if !g.etcd {
		return families, err
	}
	registered, _ := defaultGatherer.Gather() // the host's errors are not the client's
	present := familyNames(families)
	for _, family := range registered {
		name := family.GetName()
		if !present[name] && slices.ContainsFunc(etcdPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			families = append(families, family)
		}
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, err
}
