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
// Without [Config].DataDir a control plane is ephemeral: it lives in a
// temporary directory, writes nothing to disk that must last, and removes it when
// it stops; after a kill, the next start by the same user does. With it,
// everything that was acknowledged survives a crash and a power cut, and the same CA,
// keys and objects are there at the next start, or Start names the damaged file.
// DURABILITY.md beside this file lists the faults that were tried, and the limits.
//
// A start that misses a part of DataDir makes no new one in its place, for the usual
// cause is a disk that is not mounted. It fails with etcd.ErrDataMissing or pki.ErrKeysMissing, and
// with etcd.ErrOtherCluster where the keys are not those of what etcd holds.
// Config.NewCluster confirms, for one start, that new ones are wanted.
//
// DataDir, its content, and the directory of snapshots belong to the user of the process
// or to root, and neither group nor others may write to them. The same goes for an audit
// log, whose directory may also be one like /tmp, or one that the private group of its
// owner may write to. Everything else is refused with [ErrUntrusted].
//
// A DataDir needs 284 MiB of free space at its first start, most of it for the two
// segments of 61 MiB in which etcd allocates its log, and for the reserve below which
// writes are refused. A later start needs no more than a control plane leaves free, also
// where its disk or quota is full, so that objects can be deleted. When less than 110 MiB
// are left, or the database has reached Config.Etcd.QuotaBytes, /readyz is red
// (etcd-space) and writes but deletions are refused, with the status of upstream's
// etcd errors, until there is room again. Meanwhile history, the space of deleted objects
// and the log that no start needs are given back. Nothing has to be restarted. The check
// etcd-data is red while etcd's members do not agree on the data.
//
// etcd is compacted every five minutes. Its database is defragmented while it runs
// when more is free in it than used, at least 64 MiB, and no more than 128 MiB are
// used, which is what can be copied while clients wait; otherwise at the next start.
// [Server.EtcdStatus] tells its size.
//
// # Kubeconfigs
//
// [Server.Kubeconfig] and [Server.NewKubeconfig] return a file with a client certificate
// of its own, which is valid for a year or a shorter time. It outlives restarts: where
// BindAddress has port 0, DataDir remembers the port. [Server.RevokeKubeconfig] revokes a
// file that is no longer trusted.
//
// # Snapshots
//
// [Server.WriteSnapshot] writes all objects, and the CAs and keys without which
// they could not be used, to one file, while the control plane works; [Server.Snapshot]
// writes the same to an io.Writer. Config.Snapshots does so at intervals, which go on across
// restarts, [Server.TakeSnapshot] at once, and [ListSnapshots] returns the files. Where
// those are on the disk of DataDir, the default, they leave etcd the room that it needs:
// the oldest are deleted first, and one that still has no room fails, in the log and in
// the metric kubembed_snapshot_failures_total. They are numbered, so that a clock that is
// set back makes none of them old. A snapshot is a tar archive, and etcdutl restores the
// etcd.db in it. Keys of Config.Encryption are not in it. [Restore] makes a DataDir of it:
//
//	snapshots, err := controlplane.ListSnapshots("/mnt/backup") // the newest first
//	file, err := os.Open(snapshots[0].Path)
//	err = controlplane.Restore(ctx, "/var/lib/example", file, controlplane.RestoreConfig{})
//
// Resource versions then go on above all that were ever given, so that no client
// takes old objects for new. Join files from before a restore are invalid, because a
// snapshot does not know which of them were revoked after it.
//
// The checksums in a snapshot stop accidents. Config.SnapshotKey adds a MAC, by which
// [Restore] with the same RestoreConfig.Key refuses a snapshot that somebody else has
// made or changed.
//
// # Disks that hang, clocks that jump
//
// A disk that hangs holds the call that writes to it, which nothing can end. Close and
// Shutdown return nevertheless, within a minute and a half, and their error names what
// has not ended; its goroutine ends when the disk answers. A scheduled snapshot that is
// held so fails after Snapshots.Timeout, and no other is begun until it has ended. An
// audit log on such a disk holds all requests.
//
// Timers, elections, Leases of nodes, events and endpoints of servers go by the time
// that has passed, not by the time of day. When the clock is set a year ahead,
// certificates are renewed within a minute; tokens and kubeconfigs that have expired by
// then are refused, join files among them, which are deleted. When it is set back to
// before the CA was made, clients refuse all certificates: the log says so each hour, and
// Start does; both name what to do, which is to set the clock, or where that is right to
// replace the CA (package pki).
//
// # A cluster of members
//
// With Config.Etcd.Name the etcd members of several control planes, on as many
// machines, form one cluster, which goes on as long as more than half of them do.
// All have the same Config.PKI, which the first one makes before it is started, with
// package pki, or a control plane that is alone returns ([Server.PKI]):
//
//	first := map[string]string{"a": "10.0.0.1:2380", "b": "10.0.0.2:2380", "c": "10.0.0.3:2380"}
//	cp, err := controlplane.Start(ctx, controlplane.Config{
//		DataDir:     "/var/lib/example",
//		BindAddress: "10.0.0.1:6443",
//		PKI:         identities,
//		Etcd:        controlplane.Etcd{Name: "a", PeerAddr: first["a"], InitialCluster: first},
//	})
//
// Start waits until more than half are there. Each serves all objects, whether its own
// member is up to date or not, and when the leader is lost, goes on when there is
// another, within some three seconds. A request that was under way then may fail with
// status 500 although it was done.
//
// A further member is added by [Server.AddMember] of any of them, and started with
// what that returns as Config.Etcd.Join. A machine that is lost is replaced by
// [Server.RemoveMember] and a member of a new name and an empty directory.
//
// # Who may do what
//
// Clients are known by certificates of the control plane's own CA
// ([Server.Kubeconfig], [Server.NodeKubeconfig]), service-account tokens,
// bootstrap tokens ([Server.JoinKubeconfig]), or a front proxy. The Node
// authorizer and RBAC, with upstream's bootstrap policy, decide what they may
// do. Without credentials only health and version can be read.
// Config.InsecureAddr is the one exception, off by default.
//
// Admission is kube-apiserver's default set and NodeRestriction, without
// TaintNodesByCondition: the taint that it gives every new node is taken away
// by the node lifecycle controller, which a control plane has only if its host
// adds it.
//
// # Encryption
//
// Config.Encryption encrypts Secrets and what else it names on the way to etcd, with
// keys of the host's or of a key-management service. A start without a key that
// something was encrypted with fails with apiserver.ErrUndecryptable and says which.
// [Server.Reencrypt] makes a change of keys complete.
//
// # Certificates
//
// All but the authorities, which last ten years, last a year, and are renewed while
// the control plane serves when a third of that is left: new connections see the new
// ones, and none is cut. A machine that has slept longer renews within a minute.
// Kubeconfigs and node certificates are their owners' to renew. Package pki tells how
// an authority is replaced.
//
// # Core controllers
//
// A control plane keeps itself in order, as kube-controller-manager does:
//
//   - A deleted namespace is emptied and goes, five seconds after it was deleted
//     at the earliest: upstream waits for requests that are under way.
//   - What belongs to an owner that is gone is collected, custom resources too;
//     orphaning and foreground deletion do what Kubernetes documents. An object of
//     a new custom resource is known as an owner about two seconds after its
//     definition is established.
//   - Every namespace gets the service account "default", which pods have by
//     default, and the ConfigMap kube-root-ca.crt. Secrets of type
//     kubernetes.io/service-account-token get their token.
//   - ResourceQuotas have a status, and are enforced.
//   - Aggregated ClusterRoles (admin, edit, view) have rules.
//   - Pods of nodes that are gone, deleted pods that no node has, and more than
//     12,500 pods that have ended are deleted.
//   - Certificates are signed and cleaned up, and bootstrap tokens expire (see
//     Workers).
//
// They begin when the API server is ready, most of them a fifth of a second later: no
// start waits for them, and the service accounts, ConfigMaps and rules of a new
// control plane are there before. They take some 5 MB of heap, and next to no CPU
// while nothing happens. What Config.RuntimeConfig switches off they do without.
// Config.DisableCoreControllers leaves all of them out. To the API server they are the
// user system:kube-controller-manager.
//
// A panic in one of them ends the control plane, as that of a component does.
//
// # Components
//
// What else a cluster wants runs as a [Component] in Config.Components: a
// scheduler, workload controllers, simulated nodes, or controllers of your own. A
// component is a name, and a function that works until its context ends:
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
// Components start together when the API server is ready, and Start waits until
// each has called ready. They are told to end before the API server is stopped,
// which waits for them. One that ends before that, by an error or a panic, ends
// the control plane: Done is closed, and Err names it. So does a panic in a
// goroutine that it has started, where client-go recovers it: in informers'
// handlers, and in the loops of k8s.io/apimachinery/pkg/util/wait, and so does
// klog.Fatal. The check
// component/NAME of /readyz is green while it is ready. examples/controller is a
// complete program.
//
// # Workers
//
// Kubelets join with the file that [Server.JoinKubeconfig] returns, the same for
// all of them, as --bootstrap-kubeconfig:
//
//	kubelet --config=kubelet.yaml --bootstrap-kubeconfig=join.kubeconfig \
//	    --kubeconfig=/var/lib/kubelet/kubeconfig
//
// where kubelet.yaml says what is not the default, with the certificates of
// [Server.CABundle] in ca.crt:
//
//	apiVersion: kubelet.config.k8s.io/v1beta1
//	kind: KubeletConfiguration
//	authentication:
//	  x509:
//	    clientCAFile: ca.crt
//	rotateCertificates: true
//	serverTLSBootstrap: true
//
// The kubelet asks for certificates by CertificateSigningRequests. The control
// plane approves
//
//   - a first client certificate, asked for with the join file, in the name of a
//     node of which no Node object exists, and which no other key has got. Where a
//     machine is set up again, delete the old Node first. Otherwise anybody with the
//     file could become any node.
//   - its renewal, asked for by the node. rotateCertificates makes a kubelet do
//     so in time.
//   - a serving certificate, asked for by the node, for its own name and the
//     addresses that its Node has registered, except those of the control plane,
//     of Services, of webhooks that are called by a URL or have a certificate of
//     [Server.ServingCertificate], and of a cloud's metadata service. The control
//     plane has the names and addresses in its serving certificate, Config.Hosts
//     among them, and those of every server that shares its etcd. Loopback
//     addresses are accepted only if BindAddress is loopback too. A kubelet on the
//     machine of the control plane, or of such a webhook, gets its certificate once
//     its Node bears the label node-role.kubernetes.io/control-plane, which kubelets
//     cannot put on themselves.
//
// Other requests of kubelets get the condition Denied with a reason, which is a
// warning in the log too. Requests of anybody else wait for kubectl certificate
// approve. Approved requests are signed, for Config.KubeletSigningDuration where a
// kubelet renews it, and Config.ClusterSigningDuration otherwise.
//
// Denied requests are deleted after an hour. [Server.RevokeJoinKubeconfig] keeps
// further workers out, and leaves joined workers in: [Server.RevokeNode] revokes the
// identity of one.
//
// The API server uses the kubelet for logs, exec, attach, port-forward and the
// proxy of nodes. It shows a client certificate, which authentication.x509 is
// for, and verifies that the serving certificate names the node that is meant and
// the address that it calls. A node that has the address of another, or once had
// it, gets nothing that is meant for the other, so nodes may register any address
// without harm to others. A kubelet without serverTLSBootstrap makes its own
// certificate, which Config.KubeletInsecureTLS allows, for all nodes.
// [Server.NodeKubeconfig] is for a kubelet that needs no joining, and
// [Server.NodeServingCertificate] for a program that stands in for a kubelet.
//
// Serving certificates of kubelets have a CA of their own, which clients of the
// control plane do not trust. Programs that connect to kubelets by themselves need
// [Server.KubeletServingCABundle]. Releases before had them signed by the CA of
// CABundle: the API server accepts those until they are renewed.
//
// No kubelet is called at an address and port where a server of the control plane
// or its etcd listens, and nobody is proxied to its insecure listener or its etcd.
//
// # Limits of the process
//
// Set these for the process that a control plane runs in:
//
//   - Open files (ulimit -n, LimitNOFILE=): 1,024 at least, and one for each connection
//     that clients hold, which is one or two for a node. Start refuses less than 40
//     that are free.
//   - Address space (ulimit -v, LimitAS=): unlimited, or 12 GB. etcd maps its database
//     into 9 GiB of it, a tenth more than Config.Etcd.QuotaBytes; it takes no memory.
//   - Size of a file (ulimit -f, LimitFSIZE=): unlimited, or a tenth more than
//     Config.Etcd.QuotaBytes.
//
// Start fails at once where one of them is too low, with the limit and the need.
//
// All control planes of a process share one number of connections: the limit of open
// files, less what the process has open otherwise, less 200 for etcd's log, snapshots
// and other files, or a third of the rest where that is less. The limit is read again
// every second while connections are many, so that a host may raise it; on Windows
// there is none, and the number is 16,320. When it is reached, a new connection takes
// the place of another, in this order: one on which nobody has authenticated (the
// oldest, which has had 250 ms, or 50 ms without sending a byte); one of a bootstrap
// token, or of InsecureAddr; one that is idle, of the client that has most; a busy one
// of a client that is no administrator, again of the one that has most. Connections
// between members of etcd and busy ones of administrators stay. Connections that are
// not authenticated, or of bootstrap tokens or InsecureAddr, are 8,192 at most in any case.
// Half of the number is for connections that the API server opens because clients ask
// for it (exec, logs, proxies). The metric kubembed_connections_closed_total counts
// closed connections, by listener and kind of client, kubembed_connections and
// kubembed_connections_limit are the numbers, and the log has a line every ten seconds.
//
// # Metrics
//
// [Server.Metrics] is a prometheus.Gatherer with the metrics of the control plane and of
// the Kubernetes code, which a host serves together with prometheus.DefaultGatherer. The
// metrics of one control plane have the label control_plane, the address of its listener:
// kubembed_etcd_database_size_bytes, _in_use_bytes and _quota_bytes, and with
// Config.Snapshots kubembed_snapshot_failures_total and
// kubembed_snapshot_last_success_timestamp_seconds. Upstream's metrics, and etcd's, are of
// the process and count all its control planes.
//
// The API server serves them at /metrics, with etcd's where it is embedded, under the
// names that kube-apiserver has, and /statusz and /flagz, which shows Config as
// kube-apiserver's flags, without secrets. /readyz, /livez and /healthz have
// all of kube-apiserver's checks. Config.Profiling adds /debug/pprof. Clients cannot
// change klog's verbosity or reset metrics: both are the host's.
//
// # Several at once
//
// Any number of control planes run in one process. They share nothing but
// what upstream keeps per process: feature gates, metrics and klog (see the
// root package).
//
// # Logs
//
// Nothing is printed. Config.Logger takes what the control plane says, etcd's log, and
// what the Kubernetes code writes through klog.
//
//   - An error has ended something: "the start has failed", "the control plane has
//     failed, and stops".
//   - A warning is for an operator to act on. A start, the use of the API by workers,
//     kubectl and controllers, and a stop log none; each fault that DURABILITY.md lists
//     logs one.
//   - Information is what happens: starting, started (with address, version, dataDir,
//     took), component is ready, node joined, node is ready, certificate signed,
//     certificates were renewed, snapshot written and removed, the database was
//     defragmented, a member was added, stopping (with reason), stopped.
//   - The rest is at debug level.
//
// Upstream's lines are one level lower than upstream has them: its information at debug
// level, its warnings as information, its errors, most of which it retries by itself, as
// warnings. Lines that it writes when nothing is wrong are at debug level, and so is everything
// that it logs while the control plane stops. The key-value pairs of klog's structured
// lines become fields, err as "error", and keys that a line has of its own, such as msg,
// get the prefix "klog_". With several control planes in a process, each line of klog
// goes to the Logger of each. Fields have the same names everywhere: node, component,
// member, path, size, took, reason, error; user, signer and request for certificates.
//
// Clients cause log lines, some before they have authenticated: with bad tokens,
// broken TLS handshakes, requests that they reset. A kind of line (those from one
// place in the code) may come 50 times at once and once a second from then on;
// upstream's information a thousand times and a hundred, for hosts that set klog's
// verbosity. The rest is suppressed, and every ten seconds one line for each kind
// says how many. The metric
// kubembed_log_lines_dropped_total counts them, and those for which a Logger was
// too slow.
//
// Lines that a Logger itself writes to klog do not return to it: they go to
// standard error, as without a control plane.
//
// A host that has configured klog (a logger, an output, or -logtostderr=false)
// before the first Start keeps its own output. Upstream's lines then bypass the
// Logger and its limits: such a host has to limit them itself, and its klog logger
// must not block.
//
// # What a control plane does not do by itself
//
// Without components nothing is scheduled: a pod without nodeName stays Pending.
// Nothing makes pods of Deployments and Jobs, nor endpoints of Services. Nodes get no
// annotation node.alpha.kubernetes.io/ttl: kubelets watch Secrets and ConfigMaps and
// need none; those with configMapAndSecretChangeDetectionStrategy Cache see a change
// after up to a minute. It comes with ttl-controller of pkg/components/controllers.
package controlplane
