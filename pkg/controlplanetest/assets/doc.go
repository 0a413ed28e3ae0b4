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
// It takes the flags of kube-apiserver of the embedded release (--version). Unknown flags
// are errors. These flags have an effect:
//
//	--etcd-servers, over plain HTTP
//	--bind-address, --secure-port, --advertise-address
//	--cert-dir, --tls-cert-file, --tls-private-key-file
//	--client-ca-file
//	--service-account-issuer, --service-account-key-file,
//	--service-account-signing-key-file
//	--authorization-mode, of Node, RBAC, AlwaysAllow and AlwaysDeny
//	--enable-admission-plugins, --disable-admission-plugins
//	--runtime-config, --feature-gates and the flags of emulated versions
//	--service-cluster-ip-range, one range
//	--max-requests-inflight, --max-mutating-requests-inflight,
//	--request-timeout, --event-ttl
//	--audit-log-path, --audit-policy-file, --audit-log-maxsize,
//	--audit-log-maxbackup
//	-v, --vmodule, --log-flush-frequency, --logging-format
//	--help, --version
//
// Their defaults are kube-apiserver's, with these exceptions. Without
// --service-account-issuer and its keys, the program generates them. Without
// --authorization-mode, the modes are Node and RBAC, not AlwaysAllow. An audit log
// without a policy has every request at level Metadata, where kube-apiserver's is
// empty. Clients without credentials always reach only health and version: other
// requests get 401, where kube-apiserver asks RBAC and answers 403.
//
// Unsupported flags that would change results for clients are refused, with an error that
// names them:
//
//	--admission-control, --admission-control-config-file, --authentication-config,
//	--authentication-token-webhook-config-file, --authorization-config,
//	--authorization-policy-file, --authorization-webhook-config-file,
//	--api-audiences other than the issuer, --cors-allowed-origins,
//	--audit-webhook-config-file, --egress-selector-config-file,
//	--encryption-provider-config, --etcd-cafile, --etcd-certfile, --etcd-keyfile,
//	--etcd-prefix other than /registry, --etcd-servers-overrides, --oidc-*,
//	--emulation-forward-compatible, --runtime-config-emulation-forward-compatible,
//	--proxy-client-cert-file, --requestheader-client-ca-file,
//	--service-account-jwks-uri, --service-account-max-token-expiration,
//	--service-account-signing-endpoint, --service-node-port-range other than the
//	default, --tls-sni-cert-key, --token-auth-file
//
// All other flags of kube-apiserver are accepted and ignored:
//
//   - flags for speed and limits (--watch-cache, --goaway-chance,
//     --etcd-compaction-interval, ...);
//   - flags for kubelets (--kubelet-*), which the program trusts and calls with its own
//     identities;
//   - flags for several servers (--endpoint-reconciler-type, --peer-*);
//   - flags for shutdown, metrics, profiling and tracing.
//
// Privileged containers are always allowed (--allow-privileged).
package assets
