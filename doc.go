// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package kubembed runs a complete Kubernetes control plane inside the calling
// process: an embedded etcd, a generic API server with the upstream storage of
// every built-in resource, custom resources, API aggregation, and all identities.
// Clients such as kubectl, client-go, controller-runtime and real kubelets use it like
// any cluster.
//
// This package is a tour of the packages and holds no code. Start is in
// [github.com/kubembed/kubembed/pkg/controlplane]:
//
//	cp, err := controlplane.Start(ctx, controlplane.Config{}) // ready when it returns
//	if err != nil {
//		return err
//	}
//	defer cp.Close()
//	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
//
// # The packages
//
//   - pkg/controlplane: Config, Start, Run, Server. Most programs need no other.
//   - pkg/apiserver: assembles the API server: API groups, authentication,
//     authorization, admission, custom resources, aggregation, OpenAPI, readiness.
//   - pkg/etcd: the embedded member, which listens on a port only as a member of a
//     cluster; the connection to an external etcd; snapshots and maintenance.
//   - pkg/pki: CAs, serving, client and node certificates, service-account keys,
//     kubeconfigs; in memory or on disk.
//   - pkg/components/scheduler, controllers and hollownode: kube-scheduler, the
//     controllers of kube-controller-manager, and simulated nodes, each for
//     Config.Components. A program links only the components that it imports.
//   - pkg/controlplanetest: the fixture for tests, in place of envtest.
//
// Dependencies point one way: controlplanetest → controlplane → apiserver, etcd,
// pki → internal. Components import only internal packages.
//
// # Upstream code, not our own
//
// The API server is k8s.io/apiserver. Storage, strategies, validation, defaulting,
// printers and admission are packages of k8s.io/kubernetes. This project adds only
// features that upstream has no reason to offer:
//
//   - Lifecycle. Upstream's servers own their process: they end it on errors, take
//     its signals, print, and leave goroutines behind. Here a control plane is a value
//     that starts and stops, and a process can have many.
//   - The storage path. All resources share one in-process etcd client, without socket
//     or gRPC. Upstream dials one client per resource.
//   - Identities. The user prepares no files for them.
//   - Approval of the certificate requests of joining kubelets, and of their serving
//     certificates, for which upstream has no controller.
//   - Pod garbage collection. Upstream's controller would link the kubelet.
//   - The API server's connection to kubelets. It has certificates from memory and
//     refuses addresses that no kubelet should have.
//   - Durability. Damage is found before etcd opens the data: etcd would end the process
//     or lose the end of its log. Writes stop before the disk is full.
//   - Several control planes of one cluster: identities, leader elections and members.
//   - The in-process transport. Clients in the same process bypass TLS and HTTP.
//   - A fast start. Default objects, which upstream's controllers create in the first
//     seconds of a cluster, are written through storage before the server serves. OpenAPI
//     documents are built at the first request. No start waits for a polling controller.
//
// # The process belongs to the host
//
// The library never exits the process, prints, parses flags, takes signals, changes
// feature gates, or touches the loggers of etcd and gRPC. Package etcd documents the
// errors for which etcd ends the process in spite of that. The following state is per
// process upstream. All control planes of a process share it:
//
//   - Feature gates (k8s.io/apiserver/pkg/util/feature) and Prometheus metrics
//     (k8s.io/component-base/metrics/legacyregistry). The host sets the gates. A start
//     applies them to component-base's metrics
//     (k8s.io/component-base/metrics/features.ApplyFeatureGates).
//   - klog's output. While a control plane runs it goes to Config.Logger instead of
//     standard error, unless the host has configured klog itself.
//   - klog.OsExit, from the import on. A fatal error on a goroutine of a control plane
//     fails its start, or ends that control plane, instead of the process. If the host
//     has configured klog itself, klog prints the error first. Fatal errors on the
//     host's goroutines still end the process.
//   - The panic handlers of k8s.io/apimachinery/pkg/util/runtime, from the import on. One
//     more handler ends the panicking goroutine of a control plane or component, and the
//     control plane, instead of the process.
//   - The storage monitor getter of k8s.io/apiserver, from which the metric
//     apiserver_storage_size_bytes comes. Each start replaces it by one that covers all
//     control planes of the process.
//   - The feature checker of k8s.io/apiserver (DefaultFeatureSupportChecker), which
//     remembers the features that etcd supports. An etcd that refuses RangeStream
//     disables it for all control planes of the process for ten minutes.
//   - client-go's metrics of clients. One more observer is added, and the host's
//     observers stay.
//   - The refresh interval of admission policies
//     (k8s.io/apiserver/pkg/admission/plugin/policy/generic): 20 milliseconds while an
//     API server exists, instead of a second. Afterwards it is upstream's, and not the
//     host's.
//   - The batch period of the Job controller (k8s.io/kubernetes/pkg/controller/job), from
//     the first start of package components/controllers on: 50 milliseconds instead of a
//     second. Another period that the host has set before stays.
//   - time/tzdata is linked, 450 kB, for CronJobs with a time zone.
//   - etcd's metrics in the default Prometheus registry, and an expvar. Importing etcd
//     registers them.
//   - The profiler label "kubembed" on the goroutines of control planes.
//   - The capabilities of k8s.io/kubernetes/pkg/capabilities, which allow privileged
//     containers.
//
// # go.mod
//
// A module can require kubembed without a replace directive, although k8s.io/kubernetes
// is built with 33 of them. Our go.mod pins the 31 required staging modules at the
// matching version, and internal/staging keeps these pins through go mod tidy.
package kubembed
