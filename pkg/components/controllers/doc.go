// Package controllers runs upstream's controllers, those of
// kube-controller-manager, as a component of a control plane: Deployments get
// pods, Services their endpoints, dead nodes are noticed.
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
// Each controller is made as kube-controller-manager makes it, with its defaults.
// What upstream's command has around them is left out: flags, leader election,
// the HTTP server, a service account for each; they work with the control
// plane's own, and name themselves in the user agent.
//
// # Which controllers
//
// Config.Controllers names sets, [Workloads], [Nodes] and [All], and single
// controllers as kube-controller-manager's --controllers does. By default all
// run. Not among them are
//
//   - those that every control plane runs by itself, among them the garbage
//     collector and those of namespaces, service accounts, certificates, quotas,
//     and storage version migration.
//   - those that need a cloud provider. kube-controller-manager does not have them either.
//
// A controller whose feature gate is off, or of resources that
// Config.RuntimeConfig of the control plane has switched off, is left out; the
// Logger says so.
//
// # Volumes
//
// Claims are bound to volumes, and volumes of CSI, iSCSI and Fibre Channel are
// attached. Different from kube-controller-manager is what would reach into the
// file system of the process that is the host here:
//
//   - A hostPath volume with reclaim policy Delete is not removed, and gets the
//     phase Failed.
//   - hostPath volumes are not provisioned.
//   - There is no FlexVolume.
//
// When Run returns, a goroutine may still wait for a CSI driver that has been asked
// to attach or detach, for two minutes at most, or for the pod that empties a
// volume with the deprecated reclaim policy Recycle.
//
// # Panics
//
// A controller that panics ends Run with an error, in its own goroutines too,
// where upstream ends the process. For that, importing the package adds a handler
// to k8s.io/apimachinery/pkg/util/runtime.PanicHandlers, which does nothing for
// the goroutines of others. Only a panic in a goroutine that upstream does not
// guard ends the process.
//
// # What is shared in a process
//
// Each Run has its own controllers, caches and watches. Metrics and feature gates
// are the process's, as everywhere upstream; importing the package registers
// metrics with k8s.io/component-base/metrics/legacyregistry. Those that upstream
// counts from the caches of one process's only controllers, of volumes and claims,
// stay empty.
package controllers
