// Package kubembed runs a complete Kubernetes control plane inside the calling
// process: etcd embedded, a generic API server assembled over it with the
// upstream storage of every built-in resource, custom resources, API
// aggregation, and the identities that all of it needs. kubectl, client-go,
// controller-runtime and real kubelets use it like any cluster.
//
// This package is a tour and holds no code. The one call is in
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
//   - pkg/etcd: the embedded member, which listens on no port unless it is one of a
//     cluster, and the connection to an etcd elsewhere; snapshots and maintenance.
//   - pkg/pki: CAs, serving, client and node certificates, service-account keys,
//     kubeconfigs; in memory or on disk.
//   - pkg/components/scheduler, controllers and hollownode: kube-scheduler, the
//     controllers of kube-controller-manager, and simulated nodes, each for
//     Config.Components. A program links those that it imports.
//   - pkg/controlplanetest: the fixture for tests, in place of envtest.
//
// Dependencies point one way: controlplanetest → controlplane → apiserver, etcd,
// pki → internal. Components know none but internal.
//
// # Upstream code, not our own
//
// The API server is k8s.io/apiserver; storage, strategies, validation,
// defaulting, printers and admission are the packages of k8s.io/kubernetes.
// What is our own is what upstream has no reason to offer:
//
//   - Lifecycle. Upstream's servers own their process: they end it on errors,
//     take its signals, print, and leave goroutines behind. Here a control
//     plane is a value that starts and stops, many to a process.
//   - The storage path. All resources share one in-process etcd client, without
//     socket or gRPC, where upstream dials one client per resource.
//   - Identities, made and kept without files that a user has to prepare.
//   - The approval of what kubelets ask to have signed when they join, and of
//     their serving certificates, for which upstream has no controller.
//   - The garbage collector of pods: upstream's would link the kubelet.
//   - The API server's connection to kubelets, with certificates from memory,
//     and its refusal of addresses that no kubelet should have.
//   - Durability: damage is found before etcd sees it, where etcd would end the
//     process or forget the end of its log; writes stop before the disk is full.
//   - Several control planes of one cluster, their identities, elections and members.
//   - The in-process transport: clients in the same process skip TLS and HTTP.
//   - Speed of start. What upstream's controllers create in the first seconds of
//     a cluster is written through storage before anything is served, OpenAPI
//     documents are built when they are asked for, and no start waits for a
//     controller that looks once a second.
//
// # The process belongs to the host
//
// The library never exits the process, prints, parses flags, takes signals,
// changes feature gates, or touches the loggers of etcd and gRPC. What cannot
// be kept from the host is told by package etcd. These are per process
// upstream, and so here:
//
//   - Feature gates (k8s.io/apiserver/pkg/util/feature) and Prometheus metrics
//     (k8s.io/component-base/metrics/legacyregistry) are shared by all control
//     planes of a process. Gates are used as the host has set them.
//   - klog's output, while a control plane runs and unless the host has set it
//     up itself, goes to Config.Logger instead of standard error.
//   - klog.OsExit, from the import on: a fatal error on a goroutine of a control plane
//     is an error of its start, or ends that control plane, and not the process. Where
//     the host has set up klog itself, klog has printed it before. For every goroutine
//     of the host it is as before.
//   - The panic handlers of k8s.io/apimachinery/pkg/util/runtime have one more,
//     which ends a goroutine of a control plane or component that panics, and the
//     control plane, in place of the process.
//   - client-go's metrics of clients have one observer more; those of the host are kept.
//   - time/tzdata is linked, 450 kB, for CronJobs with a time zone.
//   - Importing etcd registers its metrics with the default Prometheus registry,
//     and an expvar.
//   - Goroutines of a control plane carry the profiler label "kubembed".
//   - Privileged containers are allowed (k8s.io/kubernetes/pkg/capabilities).
//
// # go.mod
//
// A module can require kubembed without any replace directive, although
// k8s.io/kubernetes is built with 33 of them: our go.mod pins the 31 staging
// modules that it requires at the matching version, which internal/staging
// keeps through go mod tidy.
package kubembed
