// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package scheduler runs kube-scheduler as a component of a control plane.
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"os"
//		"os/signal"
//
//		"github.com/kubembed/kubembed/pkg/components/scheduler"
//		"github.com/kubembed/kubembed/pkg/controlplane"
//	)
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//		defer stop()
//		err := controlplane.Run(ctx, controlplane.Config{
//			DataDir:    "data",
//			Components: []controlplane.Component{scheduler.New(scheduler.Config{})},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//	}
//
// The scheduler is k8s.io/kubernetes/pkg/scheduler with all of its features:
// profiles, out-of-tree plugins, extenders, preemption, volumes and dynamic
// resources. It has no flags, leader election or HTTP server, which belong to
// upstream's command.
//
// # Requirements
//
// The control plane must serve the API groups that kube-scheduler reads. Run
// returns an error if Config.RuntimeConfig of the control plane disables apps/v1,
// policy/v1, storage.k8s.io/v1 or resource.k8s.io/v1.
//
// Gang scheduling by PodGroups needs the feature gate GenericWorkload and the API
// scheduling.k8s.io/v1beta1 in Config.RuntimeConfig. Both are off by default, as
// upstream.
//
// # Process-wide state
//
// Each Run has its own queue, caches and watches. Metrics and feature gates are
// shared by the process, as everywhere upstream. Two more effects reach the host:
//
//   - Every scheduler of upstream logs its cache on a signal: SIGUSR2, and
//     os.Interrupt on Windows. Upstream has no way to unregister it. A host that
//     listens for the signal still receives it, but from the first Run on the
//     signal no longer ends the process. A program for Windows that should end on
//     Ctrl-C must listen for it with package os/signal, as above. Each Run leaks
//     the few bytes of its registration.
//   - Importing the package replaces klog.OsExit. Where upstream exits because a
//     scheduler's cache contradicts the database, Run returns an error instead.
//
// One goroutine for metrics ends up to a second after Run returns. Idle connections
// to extenders close after 90 seconds.
package scheduler
