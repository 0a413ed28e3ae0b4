// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a complete Kubernetes control plane inside the
// calling process, with one call.
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"log"
//
//		metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
//		"k8s.io/client-go/kubernetes"
//
//		"github.com/kubembed/kubembed/pkg/controlplane"
//	)
//
//	func main() {
//		ctx := context.Background()
//		cp, err := controlplane.Start(ctx, controlplane.Config{})
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer cp.Close()
//
//		client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
//		namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
//		if err != nil {
//			log.Fatal(err)
//		}
//		fmt.Println(len(namespaces.Items), "namespaces")
//	}
//
// # Ephemeral or durable
//
// Without [Config].DataDir a control plane is ephemeral. It lives in a temporary
// directory, does not sync writes to the disk, and removes the directory when it stops.
// After a kill, the next start by the same user removes it.
//
// With DataDir every acknowledged write survives a crash and a power cut. The next start
// has the same CA, keys and objects, or fails and names the damaged file. DURABILITY.md
// in this directory lists the tested faults and the limits.
//
// A start does not replace a missing part of DataDir, because the usual cause is a disk
// that is not mounted. It fails with etcd.ErrDataMissing or pki.ErrKeysMissing. It fails
// with etcd.ErrOtherCluster if the objects in etcd were stored under other keys.
// Config.NewCluster confirms, for one start, that new parts are wanted.
//
// DataDir, its content and the directory of snapshots must belong to the user of the
// process or to root. Neither group nor others may have write permission. The same
// applies to an audit log. Its directory may also be one like /tmp, or one that the
// private group of its owner can write to. Start refuses everything else with
// [ErrUntrusted].
//
// The first start needs 284 MiB of free space in DataDir. Most of it is for the two log
// segments of 61 MiB that etcd allocates, and for the reserve below which writes are
// refused. A later start needs no more space than a control plane leaves free. It
// succeeds on a full disk or at the quota, so that objects can be deleted.
//
// When less than 110 MiB are free, or the database has reached Config.Etcd.QuotaBytes,
// /readyz is red (check etcd-space). Writes other than deletions are refused, with the
// status of upstream's etcd errors, until space is free again. Meanwhile the control
// plane frees the space of old revisions, deleted objects and unneeded log segments. No
// restart is needed. The check etcd-data is red while etcd's members do not agree on the
// data.
//
// The control plane compacts etcd every five minutes. It defragments the database while
// it runs if more space is free in it than used, at least 64 MiB, and at most 128 MiB are
// used. That much can be copied while clients wait. A larger database is defragmented at
// the next start. [Server.EtcdStatus] returns the size.
//
// # Kubeconfigs
//
// [Server.Kubeconfig] and [Server.NewKubeconfig] return a kubeconfig with its own client
// certificate, valid for at most a year. It remains valid after a restart: with port 0 in
// BindAddress, DataDir remembers the port. [Server.RevokeKubeconfig] revokes a
// kubeconfig.
//
// # Snapshots
//
// [Server.WriteSnapshot] writes all objects, the CAs and the service-account keys to a
// file while the control plane serves. [Server.Snapshot] writes the same to an io.Writer.
// Config.Snapshots takes snapshots at intervals, across restarts. [Server.TakeSnapshot]
// takes one at once, and [ListSnapshots] lists the files.
//
// By default snapshots are on the disk of DataDir. There they leave etcd the space that
// it needs: the oldest are deleted first. A snapshot without enough space fails, in the
// log and in the metric kubembed_snapshot_failures_total. Snapshots are numbered, so that
// their order does not depend on the clock.
//
// A snapshot is a tar archive. etcdutl can restore the etcd.db in it. It does not contain
// the keys of Config.Encryption. [Restore] makes a DataDir from it:
//
//	snapshots, err := controlplane.ListSnapshots("/mnt/backup") // the newest first
//	file, err := os.Open(snapshots[0].Path)
//	err = controlplane.Restore(ctx, "/var/lib/example", file, controlplane.RestoreConfig{})
//
// Resource versions then continue above all earlier ones, so that no client takes old
// objects for new. Join files from before the restore are invalid, because a snapshot
// does not know which of them were revoked later.
//
// The checksums in a snapshot detect accidental changes. Config.SnapshotKey adds a MAC.
// [Restore] with the same RestoreConfig.Key refuses a snapshot that was made or changed
// without the key.
//
// # Disks that hang, clocks that jump
//
// A write to a disk that hangs cannot be interrupted. Close and Shutdown still return
// within a minute and a half. Their error names the part that is still running; its
// goroutine ends when the disk responds. A scheduled snapshot to such a disk fails after
// Snapshots.Timeout, and the next one starts only when it has ended. An audit log on such
// a disk blocks all requests.
//
// Timers, elections, node Leases, Events and server endpoints depend on elapsed time, not
// on the time of day. If the clock is set a year ahead, certificates are renewed within a
// minute. Expired tokens and kubeconfigs are refused, and expired join files are deleted.
// If the clock is set back to before the CA was created, clients refuse all certificates.
// The log says so every hour, and so does Start. Both name the remedy: set the clock, or
// replace the CA if the clock is right (package pki).
//
// # A cluster of members
//
// With Config.Etcd.Name the etcd members of several control planes, one per machine, form
// a cluster. It works as long as more than half of its members do. All have the same
// Config.PKI. Create it with package pki before the first start, or take it from a
// standalone control plane ([Server.PKI]):
//
//	first := map[string]string{"a": "10.0.0.1:2380", "b": "10.0.0.2:2380", "c": "10.0.0.3:2380"}
//	cp, err := controlplane.Start(ctx, controlplane.Config{
//		DataDir:     "/var/lib/example",
//		BindAddress: "10.0.0.1:6443",
//		PKI:         identities,
//		Etcd:        controlplane.Etcd{Name: "a", PeerAddr: first["a"], InitialCluster: first},
//	})
//
// Start waits until more than half of the members run. Each control plane serves all
// objects, even while its own member is catching up. When the leader is lost, the cluster
// elects another within about three seconds. A request in flight at that moment may fail
// with status 500 although it was executed.
//
// To add a member, call [Server.AddMember] of any control plane, and start the new one
// with the result as Config.Etcd.Join. To replace a lost machine, call
// [Server.RemoveMember], and add a member with a new name and an empty directory.
//
// # Who may do what
//
// Clients authenticate with certificates of the control plane's own CA
// ([Server.Kubeconfig], [Server.NodeKubeconfig]), service-account tokens, bootstrap
// tokens ([Server.JoinKubeconfig]), or through a front proxy. The Node authorizer and
// RBAC, with upstream's bootstrap policy, authorize them. Unauthenticated clients can
// read only health and version. The one exception is Config.InsecureAddr, which is off by
// default.
//
// Admission has kube-apiserver's default plugins and NodeRestriction, without
// TaintNodesByCondition. That plugin taints every new node, and only the node lifecycle
// controller removes the taint. A control plane has that controller only if its host adds
// it.
//
// # Extension points
//
// The host's own code can take part in each step of a request, beside the files and
// webhooks that kube-apiserver has:
//
//   - Config.Authentication ([apiserver.Authentication]): OIDC issuers, token files,
//     webhooks, and authenticators in Go;
//   - Config.Authorization ([apiserver.Authorization]): a chain of modes, webhooks and
//     authorizers in Go;
//   - Config.Admission ([apiserver.Admission]): the configuration of upstream's plugins,
//     and plugins in Go;
//   - Config.Audit ([apiserver.Audit]): a policy, a log, a webhook, and Sinks in Go;
//   - Config.Serving ([apiserver.Serving]): own certificates, TLS settings, and Handlers
//     for further paths. [Server.Handler] is for a server of the host's.
//
// # Encryption
//
// Config.Encryption encrypts Secrets, and other resources that it names, before they are
// stored in etcd. The keys belong to the host or to a key-management service. A start
// without a key that stored objects need fails with apiserver.ErrUndecryptable and names
// the object. [Server.Reencrypt] completes a change of keys.
//
// # Certificates
//
// CAs are valid for ten years, and all other certificates for one year. The control plane
// renews its certificates while it serves, when a third of the time is left. New
// connections use the new ones, and no connection is cut. A machine that has slept renews
// within a minute. Kubeconfigs and node certificates are renewed by their owners. Package
// pki describes the replacement of a CA.
//
// # Core controllers
//
// A control plane runs some of the controllers of kube-controller-manager:
//
//   - Deleted namespaces are emptied and removed as soon as the requests have ended that
//     were in flight at the deletion. Like upstream's, the controller waits for five
//     seconds if other API servers may create objects: those of the same etcd, if it may
//     be shared, and aggregated ones that create namespaced objects. Requests that hang
//     delay it no longer than that.
//   - Dependents of deleted owners are collected, custom resources too. Orphaning and
//     foreground deletion work as Kubernetes documents. An object of a new custom
//     resource is known as an owner some tens of milliseconds after its CRD is served.
//   - Every namespace gets the service account "default", which pods use by default, and
//     the ConfigMap kube-root-ca.crt. Secrets of type kubernetes.io/service-account-token
//     get their token.
//   - ResourceQuotas have a status and are enforced.
//   - Aggregated ClusterRoles (admin, edit, view) have rules.
//   - Pods on removed nodes, deleted pods without a node, and terminated pods beyond
//     12,500 are deleted.
//   - Certificates are signed and cleaned up, and bootstrap tokens expire (see Workers).
//
// They start when the API server is ready, most of them a fifth of a second later. No
// start waits for them: a new control plane has its service accounts, ConfigMaps and
// rules before. They take about 5 MB of heap, and almost no CPU while nothing changes.
// They do without resources that Config.RuntimeConfig switches off.
// Config.DisableCoreControllers leaves all of them out. In the API server they are the
// user system:kube-controller-manager.
//
// A panic in one of them stops the control plane, as a panic in a component does.
//
// # Components
//
// Everything else in a cluster runs as a [Component] in Config.Components: a scheduler,
// workload controllers, simulated nodes, or your own controllers. A component is a name,
// and a function that works until its context ends:
//
//	func (c *controller) Run(ctx context.Context, config *rest.Config, ready func()) error {
//		client, err := kubernetes.NewForConfig(config)
//		if err != nil {
//			return err
//		}
//		... // start informers and wait until they are synced
//		ready()
//		... // work until ctx ends
//		return nil
//	}
//
// Components start together when the API server is ready. Start waits until each has
// called ready. On a stop, their contexts end first, and the API server stops after they
// have returned. A component that returns or panics earlier stops the control plane: Done
// is closed, and Err names the component. So does klog.Fatal, and a panic in a goroutine
// of the component that client-go recovers: in event handlers of informers, and in the
// loops of k8s.io/apimachinery/pkg/util/wait. The check component/NAME of /readyz is
// green while the component is ready. examples/controller is a complete program.
//
// # Workers
//
// Kubelets join with the file that [Server.JoinKubeconfig] returns, the same for all of
// them, as --bootstrap-kubeconfig:
//
//	kubelet --config=kubelet.yaml --bootstrap-kubeconfig=join.kubeconfig \
//	    --kubeconfig=/var/lib/kubelet/kubeconfig
//
// This is kubelet.yaml without the defaults. ca.crt holds the certificates of
// [Server.CABundle]:
//
//	apiVersion: kubelet.config.k8s.io/v1beta1
//	kind: KubeletConfiguration
//	authentication:
//	  x509:
//	    clientCAFile: ca.crt
//	rotateCertificates: true
//	serverTLSBootstrap: true
//
// The kubelet requests certificates with CertificateSigningRequests. The control plane
// approves
//
//   - a first client certificate, requested with the join file, for a node that has no
//     Node object and for which no other key has a certificate. Otherwise anybody with
//     the file could become any node. Delete the old Node before you set up a machine
//     again.
//   - its renewal, requested by the node. With rotateCertificates a kubelet renews in
//     time.
//   - a serving certificate, requested by the node, for its own name and the addresses
//     that its Node has registered.
//
// Names and addresses of the control plane, of Services and of a cloud's metadata service
// are reserved and get no serving certificate. So are webhooks that are called by URL or
// have a certificate of [Server.ServingCertificate]. The control plane's names and
// addresses are in its serving certificate, Config.Hosts among them. They include every
// server that shares its etcd. Loopback addresses are accepted only if BindAddress is
// loopback too. A kubelet on the machine of the control plane, or of such a webhook, gets
// its certificate once its Node has the label node-role.kubernetes.io/control-plane.
// Kubelets cannot set that label themselves.
//
// Other requests of kubelets get the condition Denied with a reason, and a warning in the
// log. Requests of other clients wait for kubectl certificate approve. Approved requests
// are signed for Config.KubeletSigningDuration if a kubelet renews the certificate, and
// for Config.ClusterSigningDuration otherwise.
//
// Denied requests are deleted after an hour. [Server.RevokeJoinKubeconfig] prevents
// further joins, and does not affect joined workers. [Server.RevokeNode] revokes the
// identity of one node.
//
// The API server connects to kubelets for logs, exec, attach, port-forward and the proxy
// of nodes. It presents a client certificate, which authentication.x509 verifies. It
// checks that the serving certificate names the node, and the address that it calls. A
// node with the address of another node, now or earlier, therefore receives nothing that
// is meant for the other, so that nodes may register any address without harm. A kubelet
// without serverTLSBootstrap makes its own certificate. Config.KubeletInsecureTLS allows
// this, for all nodes. [Server.NodeKubeconfig] is for a kubelet that does not join, and
// [Server.NodeServingCertificate] for a program that stands in for a kubelet.
//
// A separate CA signs the serving certificates of kubelets. Clients of the control plane
// do not trust it. Programs that connect to kubelets themselves need
// [Server.KubeletServingCABundle]. Earlier releases signed them with the CA of CABundle:
// the API server accepts such certificates until they are renewed.
//
// The API server does not connect to a kubelet at an address and port where a server of
// the control plane or its etcd listens. It proxies no request to its insecure listener
// or its etcd.
//
// # Limits of the process
//
// Set these limits for the process of a control plane:
//
//   - Open files (ulimit -n, LimitNOFILE=): at least 1,024, and one for each connection
//     of clients. A node has one or two. Start fails if fewer than 40 are free.
//   - Address space (ulimit -v, LimitAS=): unlimited, or 12 GB. etcd maps its database
//     into 9 GiB of it, a tenth more than Config.Etcd.QuotaBytes. It takes no memory.
//   - Size of a file (ulimit -f, LimitFSIZE=): unlimited, or a tenth more than
//     Config.Etcd.QuotaBytes.
//
// Start fails at once if one of them is too low, and names the limit and the need.
//
// All control planes of a process share one connection budget. It is the limit of open
// files, less the other open files of the process, less 200 for etcd's log, snapshots and
// other files, or a third of the rest if that is less. While there are many connections,
// the limit is read again every second, so that a host may raise it. On Windows there is
// no limit, and the budget is 16,320.
//
// When the budget is used up, a new connection replaces another one, in this order:
//
//   - one on which no client has authenticated. The oldest goes first, after 250 ms, or
//     after 50 ms without a byte from the client;
//   - one of a bootstrap token or of InsecureAddr;
//   - an idle one of the client that has most;
//   - a busy one of the client that has most and is no administrator.
//
// Connections between etcd members and busy connections of administrators stay.
// Connections that are unauthenticated, or of bootstrap tokens or InsecureAddr, are
// limited to 8,192 in any case. Half of the budget is for connections that the API server
// opens for clients (exec, logs, proxies). The metric kubembed_connections_closed_total
// counts closed connections, by listener and kind of client. kubembed_connections and
// kubembed_connections_limit are the present number and the budget. The log has a line
// every ten seconds.
//
// # Metrics
//
// [Server.Metrics] is a prometheus.Gatherer with the metrics of the control plane and of
// the Kubernetes code. A host serves it together with prometheus.DefaultGatherer. The
// metrics of one control plane have the label control_plane, the address of its listener,
// with a number after it if another one in the process has the same address:
// kubembed_requests_total, kubembed_requests_in_flight,
// kubembed_etcd_database_size_bytes, _in_use_bytes and _quota_bytes, and with
// Config.Snapshots kubembed_snapshot_failures_total and
// kubembed_snapshot_last_success_timestamp_seconds.
//
// Upstream registers its metrics once for a process, and most of them have no label for a
// server: apiserver_request_total, apiserver_current_inflight_requests and those of
// watches, admission, storage and etcd are sums over all control planes of the process.
// The label host of rest_client_* tells the control planes apart. apiserver_id_hash does
// only if they share an etcd, and storage_cluster_id numbers them in the order of their
// starts. A control plane in a process of its own has metrics of its own.
//
// The API server serves the metrics at /metrics, with an embedded etcd's, under
// kube-apiserver's names. It serves /statusz, and /flagz, which shows Config as
// kube-apiserver's flags, without secrets. /readyz, /livez and /healthz have all of
// kube-apiserver's checks. Config.Profiling adds /debug/pprof. Clients cannot change
// klog's verbosity or reset metrics: both belong to the host.
//
// # Several at once
//
// Any number of control planes can run in one process. They share only the per-process
// state of upstream: feature gates, metrics and klog (see the root package).
//
// # Logs
//
// A control plane prints nothing. Config.Logger receives its log, etcd's log, and the
// lines that the Kubernetes code writes with klog.
//
//   - An error has ended something: "the start has failed", "the control plane has
//     failed, and stops".
//   - A warning asks an operator to act. A start, normal use by workers, kubectl and
//     controllers, and a stop log none. Each fault in DURABILITY.md logs one.
//   - Information reports events: starting, started (with address, version, dataDir,
//     took), component is ready, stopping (with reason), stopped. While the control
//     plane runs these are node joined, node is ready, certificate signed,
//     certificates were renewed, snapshot written and removed, database
//     defragmented, a member was added.
//   - Everything else is at debug level.
//
// Upstream's lines are one level lower than in upstream: information is debug, warnings
// are information, and errors are warnings, because upstream retries after most of them.
// Lines that upstream writes in normal operation are at debug level, and so are all its
// lines during a stop. The key-value pairs of klog's structured lines become fields, err
// as "error". Keys that a line has by itself, such as msg, get the prefix "klog_". With
// several control planes in a process, each line of klog goes to the Logger of each. The
// same field names are used in all lines: node, component, member, path, size, took,
// reason, error; user, signer and request for certificates.
//
// Clients cause log lines, some before they authenticate: with bad tokens, broken TLS
// handshakes, or reset requests. Lines from one place in the code are limited to 50 at
// once and one per second after that. Upstream's information is limited to a thousand at
// once and a hundred per second, for hosts that set klog's verbosity. Other lines are
// suppressed. Every ten seconds one line per place reports their number. The metric
// kubembed_log_lines_dropped_total counts them, and lines for which a Logger was too
// slow.
//
// Lines that a Logger itself writes to klog do not return to it. They go to standard
// error, as without a control plane.
//
// A host that has configured klog (a logger, an output, or -logtostderr=false) before the
// first Start keeps its own output. Upstream's lines then bypass the Logger and its
// limits. Such a host must limit them itself, and its klog logger must not block.
//
// # Limits of a control plane
//
// Without components the control plane stores objects but schedules nothing. A pod
// without nodeName stays Pending. Deployments and Jobs get no pods, and Services get no
// endpoints. Nodes do not get the annotation node.alpha.kubernetes.io/ttl: kubelets watch
// Secrets and ConfigMaps and do not need it. A kubelet with
// configMapAndSecretChangeDetectionStrategy Cache sees a change after up to a minute. The
// annotation comes with ttl-controller of pkg/components/controllers.
package controlplane
