// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// installDebug serves profiles and metrics if Config.Profiling and Config.Metrics are
// set. Upstream's EnableProfiling would also serve /debug/flags/v, which changes klog's
// verbosity, and DELETE of /metrics, which resets the metrics. Both belong to the
// process.
func installDebug(mux *mux.PathRecorderMux, c Config) {
	if c.Profiling {
		routes.Profiling{}.Install(mux)
	}
	if c.Metrics != nil {
		mux.Unregister("/metrics")
		mux.Handle("/metrics", hostMetrics{c.Metrics, c.hostCode("Config.Metrics")})
	}
}

// hostCode is code of the host in this field.
func (c Config) hostCode(name string) hostcall.Code {
	return hostcall.Code{Name: name, Timeout: c.RequestTimeout, Logger: c.Logger, Calls: &hostcall.Calls{}}
}

// hostMetrics serves the metrics of a Gatherer of the host.
type hostMetrics struct {
	prometheus.Gatherer
	code hostcall.Code
}

// ServeHTTP implements http.Handler.
func (m hostMetrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type gathered struct {
		families []*dto.MetricFamily
		err      error
	}
	got, failure := hostcall.Within(r.Context(), m.code, func(context.Context) (g gathered) {
		g.families, g.err = m.Gather()
		return g
	})
	if failure != nil {
		status := failure.Status()
		responsewriters.WriteRawJSON(failure.Code, status, w)
		return
	}
	families := slices.DeleteFunc(got.families, func(family *dto.MetricFamily) bool { return family == nil })
	promhttp.HandlerFor(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		return families, got.err
	}), promhttp.HandlerOpts{}).ServeHTTP(w, r)
}
