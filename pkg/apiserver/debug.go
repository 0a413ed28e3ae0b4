// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
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
		mux.Handle("/metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{}))
	}
}
