// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// A host serves its own metrics and the control plane's at one path.
func ExampleServer_Metrics() {
	cp, err := controlplane.Start(context.Background(), controlplane.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cp.Close()

	all := prometheus.Gatherers{prometheus.DefaultGatherer, cp.Metrics()}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(all, promhttp.HandlerOpts{}))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, name := range []string{"kubembed_etcd_database_size_bytes", "apiserver_request_total", "etcd_server_has_leader", "go_goroutines"} {
		fmt.Println(name, strings.Contains(w.Body.String(), "\n"+name))
	}
	// Output:
	// kubembed_etcd_database_size_bytes true
	// apiserver_request_total true
	// etcd_server_has_leader true
	// go_goroutines true
}
