// Package apiserver assembles the Kubernetes API server over an etcd client.
// Most programs use it through package controlplane, which brings the etcd
// member and the identities along; this package is for hosts that have either
// of their own.
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"net"
//		"os"
//
//		"github.com/kubembed/kubembed/pkg/apiserver"
//		"github.com/kubembed/kubembed/pkg/etcd"
//		"github.com/kubembed/kubembed/pkg/pki"
//	)
//
//	func main() {
//		ctx := context.Background()
//		dir, err := os.MkdirTemp("", "apiserver-")
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer os.RemoveAll(dir)
//		member, err := etcd.Start(ctx, etcd.Config{Dir: dir + "/etcd", Ephemeral: true})
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer member.Close()
//		identities, err := pki.Open(pki.Config{})
//		if err != nil {
//			log.Fatal(err)
//		}
//		listener, err := net.Listen("tcp", "127.0.0.1:0")
//		if err != nil {
//			log.Fatal(err)
//		}
//		server, err := apiserver.New(apiserver.Config{
//			Listener: listener,
//			Client:   member.Client(),
//			Dial:     member.DialContext,
//			PKI:      identities,
//			Dir:      dir,
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		if err := server.Start(ctx); err != nil {
//			log.Fatal(err)
//		}
//		defer server.Stop(ctx)
//		log.Print("serving on ", server.URL())
//	}
//
// # The chain
//
// A request passes upstream's filters, and then the first of these that knows
// its path: the aggregator (k8s.io/kube-aggregator), the built-in APIs
// (k8s.io/kubernetes/pkg/controlplane), custom resources
// (k8s.io/apiextensions-apiserver), not found. It is the chain of
// kube-apiserver, assembled from the same parts by configuration structs where
// kube-apiserver goes by flags.
//
// # Where it differs from kube-apiserver
//
//   - The objects that a new cluster begins with (system namespaces, RBAC
//     policy, priority classes, flow control, the default ServiceCIDR,
//     registrations of the built-in groups) are written through storage before
//     anything is served, with the metadata that kube-apiserver gives them,
//     managedFields included. With Config.Controllers the default service accounts,
//     the ConfigMaps kube-root-ca.crt and the rules of aggregated ClusterRoles are
//     among them. Objects of data that an older release of this package has made stay
//     without managedFields, and as upstream has it for such objects, updates of them
//     are not tracked before somebody applies one, and conflicts name
//     "before-first-apply": who owned which field before is not known. One that is
//     deleted has them after the next start.
//   - Over existing data, requests bring the RBAC policy up to date, in the order and with
//     the results of upstream's hook rbac/bootstrap-roles: what an operator has added or
//     protects with rbac.authorization.kubernetes.io/autoupdate: "false" stays, and what is
//     missing is created, as a copy where upstream makes one. kube-apiserver ends where this
//     fails for 30 seconds. Here the check of the hook is red, and the server goes on trying.
//   - There are three more ClusterRoleBindings and a ClusterRole, for nodes: see "RBAC
//     for nodes".
//   - Before anything is served, a start writes the APIServices of built-in group
//     versions as they should be. One that names another server and has lost the label
//     kube-aggregator.kubernetes.io/automanaged is the control plane's again, with a
//     warning; kube-apiserver does not get ready with it.
//   - Webhooks and admission policies are not asked about what the server itself writes
//     until Start returns and from Stop on, nor ever about the endpoints of the
//     kubernetes Service: one that refuses everything or hangs keeps no server from its
//     start or stop.
//   - An informer that an admission policy has begun, for parameters of a built-in kind,
//     runs until the server stops. kube-apiserver ends it with the policy, and later
//     policies with such parameters then see no changes of them.
//   - OpenAPI documents are built when they are first asked for, and are listed
//     without a hash of their content.
//   - Services of webhooks and aggregated API servers are resolved to their
//     endpoints, as with --enable-aggregator-routing.
//   - Kubelets must serve with a certificate of PKI's KubeletServingCA or CA, with the
//     subject CN=system:node:NAME, O=system:nodes of the node that is meant, and for its
//     address, unless Config.KubeletInsecureTLS is set; kube-apiserver verifies none by
//     default, and no names ever. The server name of the handshake is the node's name.
//   - Kubelets are not connected to where an API server that shares the etcd listens, or
//     etcd. Pods, Services and nodes are not connected to at the insecure listener of
//     one, or at etcd. The certificate with which servers call kubelets is refused at a
//     server, except to ask whose it is.
//   - Kubelets, pods and Services are not connected to at loopback addresses,
//     unless Listener is on loopback and the node has registered one for its
//     kubelet, nor at metadata services of clouds. Names are judged by what
//     they resolve to. Pods, Services and other ports of nodes are not
//     reached at link-local addresses either.
//   - HTTP(S)_PROXY has no effect on these connections.
//   - Bootstrap tokens may have secrets of more than upstream's 16 characters.
//   - Profiling and log-level handlers, which reach into the process, are off.
//   - Groups that Config.RuntimeConfig switches off may be any: the server's own
//     informers see them as empty.
//
// # RBAC for nodes
//
// Upstream's bootstrap policy says nothing about nodes that join: kubeadm and others
// bring the bindings along. Here these are part of the policy, and are repaired by a
// start like the rest of it:
//
//   - ClusterRoleBinding kubembed:kubelet-bootstrap: clients with a join token (group
//     system:bootstrappers:kubembed:join) may create and get CertificateSigningRequests,
//     by the ClusterRole kubembed:node-bootstrapper.
//   - ClusterRoleBinding kubembed:node-certificate-rotation: kubelets (group
//     system:nodes) may renew their client certificates.
//   - ClusterRoleBinding kubembed:kubelet-api-admin: the API server's own identity at
//     kubelets (user kube-apiserver-kubelet-client) may use their APIs.
//
// To change one, set its annotation rbac.authorization.kubernetes.io/autoupdate to
// "false", as with upstream's.
//
// # What a request may cost
//
// Bodies for built-in APIs and custom resources are read and measured before they
// are decoded, because decoders trust their input (internal/wire). A client
// without credentials or rights is refused with the body unread. Aggregated API
// servers have limits of their own.
//
//   - Size: 3 MiB, as upstream. CertificateSigningRequests 32 KiB, their status and
//     approval 128 KiB; reviews, leases, evictions, bindings, scale, token requests
//     and the options of a deletion 64 KiB; what nodes send 1 MiB, and what clients
//     send that only have a token to join 32 KiB. Otherwise HTTP 413.
//   - Depth: 1,000 levels in any encoding, also of JSON inside protobuf. Paths of a
//     JSON patch may have 512 elements. Otherwise HTTP 400.
//   - Memory when decoded, as estimated: 64 MiB, for CRDs and custom resources 128
//     MiB. All that decode at once may take 192 MiB, of which 64 MiB are for
//     administrators; a request waits up to ten seconds for the others, and then
//     gets HTTP 429. Bodies of up to 256 KiB decoded do not wait.
//   - The operations "copy" of a JSON patch may copy 256 KiB. Upstream keeps this
//     limit in a variable of the process.
//   - RSA keys of CertificateSigningRequests: 8,192 bits.
//   - A protobuf body must have an apiVersion and a kind.
//   - Of an invalid object of a built-in type 100 problems are reported.
//
// What clients may store is bounded as well. One with a token to join may create 32
// MiB at once and 8 MiB an hour, of which a request of 1 kB takes 7 kB, and a node
// 48 MiB at once and 128 MiB an hour, updates included, with a budget of its own for
// Leases: then they get HTTP 429. They may have 1,000 and 3,000 watches open. Config.StorageUsed keeps
// the end of etcd's quota for administrators: others get HTTP 507.
//
// # Several servers
//
// With Config.Shared several servers work on the same data, as several kube-apiservers
// do:
//
//   - Each has an ID of its own, by its machine's name, address and port, and a Lease
//     in kube-system with that name.
//   - The endpoints of the kubernetes Service are those that live: one that is stopped
//     is taken out at once, one that is killed within 25 seconds. As upstream, there is
//     one port for all: servers that are not on loopback listen on the same.
//   - A definition of custom resources is established five seconds after its names are
//     accepted, and the first object waits for two more: by then all servers know it.
//   - What is written through one has its effect in the others within milliseconds:
//     roles, webhooks, policies, APIServices. WaitForInformers and the like tell about
//     the server that they are called on.
//   - Each publishes its names, addresses and endpoints below PREFIX/kubembed/servers in
//     etcd, for an hour after it was last there: see Server.Reserved.
//   - They are one Kubernetes minor version apart at most, which the key
//     PREFIX/kubembed/version in etcd is for; see ErrVersionSkew. A standalone server
//     does not go back to an older minor version, and does not skip one.
//
// Controllers that only one server may run are up to the caller.
//
// # Without etcd
//
// While etcd cannot be reached the checks etcd and etcd-readiness are red. Reads
// from the watch cache go on; what needs etcd fails with HTTP 500 after three seconds,
// and then at once, where kube-apiserver would let it wait for a minute. Watches stay
// open. All of it mends itself when etcd is back. An etcd that keeps connections but
// does not answer holds requests for as long as Config.RequestTimeout. A Service that
// asks for a node port meanwhile makes upstream's client of etcd, which takes no
// logger, write to standard error.
//
// # What a decision knows
//
// Requests are authorized and admitted by informers, which hear of a write about a
// millisecond later. A request that depends on a write that this server has
// acknowledged, or shown to a reader of the object, waits until the informers have it:
// roles and bindings; namespaces, quotas, limit ranges, service accounts; priority,
// runtime, storage and ingress classes; webhook configurations; CustomResourceDefinitions;
// for nodes that would be refused, pods and volumes. Each decision waits for a second at
// most; later ones do not wait for the same write again. Not waited for are: the
// compilation of admission policies, which upstream does once a second; a node's access
// to what a pod has just stopped using; the new schema of a custom resource that is in use
// (WaitForInformers); writes that the client has only seen in a list or a watch; and writes of other
// servers of the same etcd.
//
// # When upstream gives up
//
// Upstream ends the process when one of its start hooks returns an error, and
// hooks return errors when they are cut short. Hooks are therefore not cut
// short: Stop waits for them, five seconds at most. Those that poll for seconds
// and then give up are replaced. What is left ends the hook and not the process
// (see the root package on klog.OsExit). New and Start return upstream's fatal errors
// and panics on their goroutines as errors. After one, goroutines of upstream's
// unfinished parts may stay, for which upstream has no end. Package controlplane also
// makes errors of those on all other goroutines of the server.
package apiserver
