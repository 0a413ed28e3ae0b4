// Package assets is about two programs for suites that start their cluster with
// controller-runtime's envtest and cannot be changed: kube-apiserver and etcd. They
// take the flags which envtest gives to the programs of these names, so that a suite
// runs unmodified when KUBEBUILDER_ASSETS points at them. The package itself holds
// no code.
//
//	GOBIN=$PWD/assets go install github.com/kubembed/kubembed/pkg/controlplanetest/assets/...@latest
//	KUBEBUILDER_ASSETS=$PWD/assets go test ./...
//
// GOBIN and KUBEBUILDER_ASSETS must be absolute paths. Who can change a suite gains
// more from package controlplanetest: its control planes need neither programs nor
// variables, start faster, and delete namespaces. envtest.Environment's
// UseExistingCluster and Config work on top of them.
//
// Both programs end, except on Windows, within a second or two when the process that
// started them is gone. A suite that crashes, or does not stop its cluster, leaves
// nothing that runs.
//
// # etcd
//
// This is etcd's own server (go.etcd.io/etcd/server/v3/embed), of the release that
// go.mod names, with its flags. Where --heartbeat-interval and --election-timeout are
// not given they are a fifth of etcd's, so that the only member elects itself sooner.
// Flags of lists other than URLs (--cors, --host-whitelist, --cipher-suites,
// --log-outputs, ...), --experimental-*, --config-file and the subcommands of etcd are
// an error, and its environment variables are not read.
//
// # kube-apiserver
//
// This is the API server of package apiserver, over the etcd at --etcd-servers. As
// kube-apiserver, and unlike a control plane of package controlplane, it runs no
// controllers: namespaces that are deleted stay, owners that are deleted leave what
// they own. Suites that were written for envtest may rely on it. The one flag of its
// own, --core-controllers, has the core controllers run in it.
//
// SIGTERM and SIGINT stop it, at once: requests in flight are cut. Errors and the log
// go to standard error.
//
// It knows the flags of kube-apiserver of the release that is embedded (--version).
// A flag that kube-apiserver does not know is an error here too. These have effect:
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
// Where such a flag is not given, kube-apiserver's default holds, with these
// exceptions. Without --service-account-issuer and its keys they are made up. Without
// --authorization-mode it is Node and RBAC, not AlwaysAllow. An audit log without a
// policy has every request at level Metadata, not nothing. And in any case, clients
// without credentials reach health and version only: for anything else they get 401,
// where kube-apiserver asks RBAC about them and would answer 403.
//
// Flags that would change what clients see and cannot be honoured are refused, with an
// error that names them:
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
// All other flags of kube-apiserver are accepted and mean nothing here: how fast and
// with which limits it works (--watch-cache, --goaway-chance,
// --etcd-compaction-interval, ...), kubelets (--kubelet-*), which are trusted and
// called with identities of this program's own, several servers
// (--endpoint-reconciler-type, --peer-*), shutdown, metrics, profiling and tracing.
// Privileged containers are always allowed (--allow-privileged).
package assets
