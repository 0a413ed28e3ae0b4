// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package controllers runs the controllers of kube-controller-manager as a component of a
// control plane: Deployments get pods, Services get endpoints, and pods are evicted from
// failed nodes.
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"os"
//		"os/signal"
//
//		"github.com/kubembed/kubembed/pkg/components/controllers"
//		"github.com/kubembed/kubembed/pkg/controlplane"
//	)
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//		defer stop()
//		err := controlplane.Run(ctx, controlplane.Config{
//			DataDir: "data",
//			Components: []controlplane.Component{
//				controllers.New(controllers.Config{PodCIDR: "10.244.0.0/16"}),
//			},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//	}
//
// The controllers are constructed as in kube-controller-manager, with its defaults. They
// have no flags, leader election or HTTP server, which belong to upstream's command, and
// no separate service accounts: they use the identity of the control plane, and their
// names are in the user agent.
//
// # Selection
//
// Config.Controllers selects sets, [Workloads], [Nodes] and [All], and single
// controllers, like kube-controller-manager's --controllers. By default all run. The
// package does not have
//
//   - the controllers that every control plane runs itself, among them the garbage
//     collector and the controllers of namespaces, service accounts, certificates,
//     quotas, and storage version migration.
//   - the controllers that need a cloud provider, which kube-controller-manager lacks
//     too.
//
// A controller is skipped if its feature gate is off, or if Config.RuntimeConfig of the
// control plane disables its resources. The Logger reports it.
//
// # Volumes
//
// Claims are bound to volumes, and volumes of CSI, iSCSI and Fibre Channel are attached.
// Unlike kube-controller-manager, the controllers do not access the file system of their
// process, which is the host:
//
//   - A hostPath volume with reclaim policy Delete is not removed, and gets the phase
//     Failed.
//   - hostPath volumes are not provisioned.
//   - FlexVolume is not supported.
//
// After Run has returned, a goroutine may still wait for a CSI driver to attach or
// detach, for at most two minutes. Another may wait for the pod that scrubs a volume with
// the deprecated reclaim policy Recycle.
//
// # Panics
//
// If a controller panics, also in its own goroutines, Run returns an error. Upstream
// exits the process. For that, importing the package adds a handler to
// k8s.io/apimachinery/pkg/util/runtime.PanicHandlers, which ignores other goroutines.
// Only a panic in a goroutine without upstream's crash handler still ends the process.
//
// # Process-wide state
//
// Each Run has its own controllers, caches and watches. Metrics and feature gates are
// shared by the process, as everywhere upstream. Importing the package registers metrics
// with k8s.io/component-base/metrics/legacyregistry. Upstream computes some metrics of
// volumes and claims from the caches of the only controllers of the process. They stay
// empty.
package controllers
