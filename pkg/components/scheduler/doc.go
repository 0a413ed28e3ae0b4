// Package scheduler runs kube-scheduler as a component of a control plane: it
// gives pods their nodes.
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
// It is k8s.io/kubernetes/pkg/scheduler with all that it does: profiles,
// plugins of your own, extenders, preemption, volumes, dynamic resources. What
// upstream's command has around it is left out: flags, leader election, the
// HTTP server.
//
// # What it needs
//
// The API groups that kube-scheduler reads: Run does not get ready where
// Config.RuntimeConfig of the control plane has switched off apps/v1, policy/v1,
// storage.k8s.io/v1 or resource.k8s.io/v1.
//
// Pods are scheduled in gangs, by PodGroups, where the feature gate GenericWorkload is on, and
// Config.RuntimeConfig switches scheduling.k8s.io/v1beta1 on, which are off by default upstream.
//
// # What is shared in a process
//
// Each Run has its own queue, caches and watches. Metrics and feature gates are
// the process's, as everywhere upstream. Two things more cannot be kept from
// the host:
//
//   - Upstream has every scheduler listen for a signal on which it logs its
//     cache, SIGUSR2, and on Windows os.Interrupt, and offers no way to end
//     that. The signal still reaches a host that listens for it. But it does
//     not end the process any more, from the first Run on: a program for Windows
//     that should end on Ctrl-C listens for it with package os/signal, as above.
//     The few bytes of each registration stay.
//   - klog.OsExit, from the import on: where upstream ends the process because a
//     scheduler's cache contradicts the database, Run returns an error instead.
//
// A goroutine that counts for metrics ends up to a second after Run has
// returned, and idle connections to extenders 90 seconds after.
package scheduler
