// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package assets documents two programs, kube-apiserver and etcd, for suites that start
// their cluster with controller-runtime's envtest and cannot be changed. The programs
// take the flags that envtest gives to kube-apiserver and etcd, so a suite runs
// unmodified when KUBEBUILDER_ASSETS points to them. The package itself has no code.
//
//	GOBIN=$PWD/assets go install github.com/kubembed/kubembed/pkg/controlplanetest/assets/...@latest
//	KUBEBUILDER_ASSETS=$PWD/assets go test ./...
//
// GOBIN and KUBEBUILDER_ASSETS must be absolute paths. If you can change a suite, use
// package controlplanetest instead: its control planes need neither programs nor
// variables, start faster, and delete namespaces. envtest.Environment works on top of
// them with UseExistingCluster and Config.
//
// Except on Windows, both programs end within two seconds after their parent process. A
// suite that crashes, or does not stop its cluster, leaves no process behind.
//
// # etcd
//
// This is etcd's own server (go.etcd.io/etcd/server/v3/embed) with its flags, of the
// release in go.mod. --heartbeat-interval and --election-timeout default to a fifth of
// etcd's, so that the only member elects itself sooner. Flags for lists other than URLs
// (--cors, --host-whitelist, --cipher-suites, --log-outputs, ...), --experimental-*,
// --config-file and the subcommands of etcd are errors. Environment variables are not
// read.
//
// # kube-apiserver
//
// This is the API server of package apiserver over the etcd at --etcd-servers. Like
// kube-apiserver, and unlike a control plane of package controlplane, it runs no
// controllers: deleted namespaces stay, and dependents of deleted owners stay. Suites
// written for envtest may rely on it. The flag --core-controllers, which kube-apiserver
// does not have, runs the core controllers.
//
// SIGTERM and SIGINT stop it at once and cut requests in flight. Errors and the log go to
// standard error.
//
// It takes the flags of kube-apiserver of the embedded release (--version), and completes
// and validates them by kube-apiserver's own code. Unknown flags are errors. Answers,
// defaults and the self-signed certificate in --cert-dir are kube-apiserver's: without
// --authorization-mode, for example, all clients with credentials may do everything, and
// clients without get 401.
//
// Differences:
//
//   - Without --service-account-issuer and its keys, the program generates them.
//   - A machine needs no default route: the server is advertised at its own address then.
//   - Privileged containers need --allow-privileged, as in kube-apiserver, and
//     --max-connection-bytes-per-sec has an effect: both are limits of the process.
//   - Bootstrap tokens are always accepted (--enable-bootstrap-token-auth), and Services
//     of webhooks and aggregated API servers are resolved to their endpoints
//     (--enable-aggregator-routing).
//   - --kubelet-*: the program trusts kubelets by certificates of its own CA only, and
//     calls them with its own.
//   - The serving key must not be readable for all users of the machine, and the program
//     does not start with a serving certificate that has expired.
//   - Clients that ask for a name of the Service kubernetes (SNI), such as
//     kubernetes.default.svc, get a certificate of the program's own CA, also with
//     --tls-cert-file.
//   - --client-ca-file and --requestheader-client-ca-file are read once.
//
// These flags are accepted and have no effect, because they are about speed, metrics of
// etcd or the end of the program, which is immediate: --apiserver-count,
// --default-watch-cache-size, --etcd-count-metric-poll-period,
// --etcd-db-metric-poll-interval, --etcd-healthcheck-timeout, --etcd-readycheck-timeout,
// --lease-reuse-duration-seconds, --livez-grace-period, --shutdown-*,
// --storage-initialization-timeout.
//
// These values are refused, with an error that has the reason, since results would differ
// for clients:
//
//	--aggregator-reject-forwarding-redirect=false
//	    an aggregated API server could send its clients' requests elsewhere
//	--contention-profiling, --debug-socket-path
//	    --profiling serves profiles to authorized clients
//	--coordinated-leadership-* other than the defaults
//	    upstream's defaults apply, with the feature gate CoordinatedLeaderElection
//	--emulation-forward-compatible, --runtime-config-emulation-forward-compatible
//	    with --emulated-version, newer APIs are not served
//	--enable-garbage-collector=false
//	    dependents and finalizers are always kept for a garbage collector
//	--enable-logs-handler
//	    the program writes no log files, and does not serve those of its machine
//	--endpoint-reconciler-type=master-count
//	    it is deprecated: use lease or none
//	--etcd-servers-overrides of resources such as pods, secrets and clusterroles
//	    the control plane itself depends on them
//	--event-ttl=0, --min-request-timeout=0, --request-timeout=0
//	    Events always expire, and watches and requests always end
//	a proxy to etcd in --egress-selector-config-file
//	    the program connects to etcd directly
//	--kubernetes-service-node-port
//	    the Service kubernetes has no node port
//	--max-requests-inflight=0, --max-mutating-requests-inflight=0
//	    there is always a limit
//	--peer-advertise-ip, --peer-advertise-port, --peer-ca-file
//	    servers do not forward requests to each other
//	--service-account-lookup=false
//	    tokens of deleted service accounts would be valid
//	--storage-media-type other than application/vnd.kubernetes.protobuf
//	    built-in kinds are stored as other programs expect them
//
// The package documentation of pkg/apiserver has the field of Config that each flag sets.
package assets
