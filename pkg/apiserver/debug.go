package apiserver

import (
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
)

// installDebug serves profiles and metrics as Config.Profiling and Config.Metrics say. Upstream's
// EnableProfiling would also serve /debug/flags/v, by which clients change klog's
// verbosity, and DELETE of /metrics, by which they reset the metrics: both are the
// process's.
func installDebug(mux *mux.PathRecorderMux, c Config) {
	if c.Profiling {
		routes.Profiling{}.Install(mux)
	}
	if c.Metrics != nil {
		mux.Unregister("/metrics")
		mux.Handle("/metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{}))
	}
}
