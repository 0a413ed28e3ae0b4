// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"sync"
	_ "time/tzdata" // time zones of CronJobs, if the machine has no zone files

	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/metrics"
	metricsfeatures "k8s.io/component-base/metrics/features"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/clientgo/fifo" // metrics of informers
	"k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/kubembed/kubembed/internal/clientmetrics"
)

// This file does for the process what kube-apiserver's main package does in addition to
// starting the server, as far as a library may. The rest is up to the program: signals,
// flags, klog and its formats (logs.InitLogs, logsapi.ValidateAndApply and its feature
// gates), rest.SetDefaultWarningHandler, the values of gates, block profiles, and
// client-go's metrics of leader elections, which are empty in kube-apiserver and which
// controller-runtime would lose. No other package takes the metrics of informers.

// registerProcessMetrics registers the metrics of the process that upstream's main
// packages register, and updates the metrics of feature gates.
func registerProcessMetrics() {
	metricsfeatures.ApplyFeatureGates(utilfeature.DefaultFeatureGate)
	serviceaccount.RegisterMetrics()
	clientmetrics.Register()
	registerBuildInfo()
	utilfeature.DefaultMutableFeatureGate.AddMetrics()
	compatibility.DefaultComponentGlobalsRegistry.AddMetrics()
}

// registerBuildInfo registers kubernetes_build_info with the embedded release: upstream's
// package has v0.0.0-master, see version.go. A program that imports upstream's package,
// as the components of Kubernetes do, keeps the metric of that package.
var registerBuildInfo = sync.OnceFunc(func() {
	buildInfo := metrics.NewGaugeVec(&metrics.GaugeOpts{
		Name: "kubernetes_build_info",
		Help: "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, " +
			"Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
		StabilityLevel: metrics.BETA,
	}, []string{"major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler", "platform"})
	if legacyregistry.Register(buildInfo) != nil {
		return
	}
	info := effectiveVersion{compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent)}.Info()
	buildInfo.WithLabelValues(info.Major, info.Minor, info.GitVersion, info.GitCommit, info.GitTreeState, info.BuildDate,
		info.GoVersion, info.Compiler, info.Platform).Set(1)
})

// nameInMetrics returns the value of the label control_plane.
func (c Config) nameInMetrics() string {
	if c.metricsName == "" && c.Listener != nil {
		return c.Listener.Addr().String()
	}
	return c.metricsName
}
