// Package hollownode simulates the nodes of a cluster: for tests and
// demonstrations, in the process of the control plane, without containers.
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
// Where several control planes share an etcd the nodes are in the one that is elected,
// and move to another with their names. For nodes in each of them, give each a
// Config.NamePrefix of its own, and the component as controlplane.WithoutLeaderElection.
//
// # What a hollow node does
//
// It registers, is Ready, and renews its Lease. A pod that is bound to it runs:
// init containers are done at once, the others are started and ready, and the
// pod has an address, from the node's spec.podCIDRs or else from
// [Config].PodCIDR. Nothing listens there. Statuses are written like a
// kubelet's, with readiness gates respected, in as few writes as can be: a pod
// goes from Pending to Running in one.
//
// The containers of a Job's pod end with exit code 0 after Config.JobDuration;
// those of other pods run until the pod is deleted. The pod's restart policy is
// followed, with the kubelet's back-off, and so is activeDeadlineSeconds. When
// a pod is deleted, its containers stop after Config.StopDelay, or are killed
// when its grace period is over, and then the deletion is confirmed.
//
// Annotations tell a pod to do otherwise: [AnnotationRunFor],
// [AnnotationExitCode], [AnnotationReady] and others. In the pod template of a
// Deployment or a Job they tell all its pods.
//
// kubectl logs works, follows too, and shows a line for each start and end of a
// container, and [AnnotationLog]. The kubelet API of all nodes is on one port of
// Config.Address. It has a serving certificate for each node that is called, which
// it asks for and approves as an administrator may, and is open to those whom the
// cluster's authorization allows nodes/proxy.
//
// [Nodes.Kill] is a power cut for one node, [Nodes.Revive] the end of it.
//
// # What it does not
//
// There is no exec, attach or port-forward, no volumes, no image is pulled, no
// probe is asked, no event is written, and there are no metrics. Pods are never
// rejected or evicted by the node, whatever they ask for. A Node object that is
// deleted stays away until the node is revived or Run is called again, as it
// does with a kubelet. Node statuses are written when they change, not every
// five minutes.
//
// # Cost
//
// A node is an entry in a table: there is one watch for all nodes, one for all
// pods, one loop for all Leases and a fixed number of workers. Leases are
// renewed every 20 seconds, half as often as by kubelets, and good for 40; the
// renewals are spread evenly. On two cores, with all of the control plane in the
// figures, 1,000 nodes register in 1.6 seconds, take 19 MB of heap, and idle at
// 6 % of one core, nearly all of it the API server's work for 50 renewals a second;
// Config.LeaseDuration makes it less. 5,000 pods are created and run in 15
// seconds, and take 120 MB, most of it the API server's too.
//
// # Why not kwok
//
// sigs.k8s.io/kwok is made for this, and its controllers can be imported. In
// v0.8.0, though, they cannot be ended: each leaves five goroutines behind, those
// of its three delaying queues, which run for ever, and the two of its event
// broadcaster, which is never shut down; and Start gives nothing to wait for. Its
// logs are files on disk that its configuration points to, and its server takes
// its certificate by file name. Its stages for pods open readiness gates by
// themselves, confirm a deletion at once or at random within the grace period,
// and start nothing again that has ended.
package hollownode
