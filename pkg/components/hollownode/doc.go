// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package hollownode simulates the nodes of a cluster in the process of the control
// plane, without containers, for tests and demonstrations.
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"os"
//		"os/signal"
//
//		"github.com/kubembed/kubembed/pkg/components/hollownode"
//		"github.com/kubembed/kubembed/pkg/controlplane"
//	)
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//		defer stop()
//		err := controlplane.Run(ctx, controlplane.Config{
//			Components: []controlplane.Component{
//				hollownode.New(hollownode.Config{Count: 3}),
//			},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//	}
//
// If several control planes share an etcd, only the elected one runs the nodes, and the
// next leader takes them over under the same names. To run nodes in each control plane,
// give each a Config.NamePrefix of its own and wrap the component with
// controlplane.WithoutLeaderElection.
//
// # Behavior
//
// A hollow node registers, is Ready, and renews its Lease. It runs the pods that are
// bound to it: init containers complete at once, and the other containers start and are
// ready. The pod has an IP address from the node's spec.podCIDRs or, without them, from
// [Config].PodCIDR, where nothing listens. The node writes pod statuses as a kubelet does
// and respects readiness gates, with as few writes as possible: one from Pending to
// Running.
//
// The containers of a Job's pod exit with code 0 after Config.JobDuration. The containers
// of other pods run until the pod is deleted. The node follows the restart policy, with
// the back-off of the kubelet, and activeDeadlineSeconds. When a pod is deleted, its
// containers stop after Config.StopDelay, or are killed at the end of the grace period.
// Then the node confirms the deletion.
//
// Annotations change the behavior of a pod: [AnnotationRunFor], [AnnotationExitCode],
// [AnnotationReady] and others. In the pod template of a Deployment or a Job they apply
// to all of its pods.
//
// kubectl logs works, with --follow too. It shows a line for each start and exit of a
// container, and [AnnotationLog]. The kubelet API of all nodes is on one port of
// Config.Address. It has a serving certificate for each node, which it requests at the
// first connection and approves as an administrator. It serves users that may access
// nodes/proxy.
//
// [Nodes.Kill] simulates a loss of power of one node, and [Nodes.Revive] its return.
//
// # Limits
//
// There is no exec, attach or port-forward. There are no volumes, image pulls, probes,
// events or metrics. The node never rejects or evicts a pod, whatever it requests. A
// deleted Node object is not created again until the node is revived or Run is called
// again, as with a kubelet. Node statuses are written when they change, not every five
// minutes.
//
// # Cost
//
// All nodes share one watch for nodes, one for pods, one loop for Leases and a fixed
// number of workers. Leases last 40 seconds and are renewed every 20, half as often as by
// kubelets. The renewals are spread evenly. On two cores, and including the control
// plane, 1,000 nodes register in 1.6 seconds, use 19 MB of heap, and idle at 6 % of one
// core. Nearly all of that is the API server's work for 50 renewals a second, which a
// longer Config.LeaseDuration reduces. 5,000 pods are created and run in 15 seconds, and
// use 120 MB, mostly in the API server.
//
// # Why not kwok
//
// sigs.k8s.io/kwok has the same purpose, and its controllers can be imported. In v0.8.0
// they cannot be stopped: each leaks five goroutines, three of its delaying queues and
// two of its event broadcaster, and Start returns nothing to wait for. Logs are files on
// disk that the configuration names, and the server reads its certificate from files. The
// stages for pods open readiness gates themselves, confirm a deletion at once or at
// random within the grace period, and restart no container.
package hollownode
