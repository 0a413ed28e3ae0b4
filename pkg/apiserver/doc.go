// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package apiserver assembles the Kubernetes API server over an etcd client.
// Most programs use it through package controlplane, which adds the etcd member
// and the identities. This package is for hosts that have their own etcd or
// identities.
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
// A request passes upstream's filters, and then the first server that has its
// path: the aggregator (k8s.io/kube-aggregator), the built-in APIs
// (k8s.io/kubernetes/pkg/controlplane), custom resources
// (k8s.io/apiextensions-apiserver), not found. It is kube-apiserver's chain,
// assembled from the same parts by configuration structs instead of flags.
//
// # Differences from kube-apiserver
//
// Bootstrap:
//
//   - The server writes the objects of a new cluster (system namespaces, RBAC
//     policy, priority classes, flow control, the default ServiceCIDR, APIServices
//     of the built-in groups) through storage before it serves, with
//     kube-apiserver's metadata and managedFields. With Config.Controllers it also
//     writes the default service accounts, the ConfigMaps kube-root-ca.crt and the
//     rules of aggregated ClusterRoles.
//   - Objects that an older release of this package has created stay without
//     managedFields. As for all such objects, upstream does not track updates of
//     them before the first apply, and conflicts name the manager
//     "before-first-apply". An object that is deleted and created again by a start
//     has managedFields.
//   - Over existing data, requests update the RBAC policy in the order and with the
//     results of upstream's hook rbac/bootstrap-roles. What operators have added or
//     protected with rbac.authorization.kubernetes.io/autoupdate: "false" stays.
//     Missing objects are created, as copies where upstream copies.
//     kube-apiserver exits if this fails for 30 seconds. Here the check of the hook
//     fails, and the server retries.
//   - Three more ClusterRoleBindings and a ClusterRole exist for nodes: see "RBAC
//     for nodes".
//   - A start restores the APIServices of built-in group versions before it serves.
//     An APIService that names another server and has lost the label
//     kube-aggregator.kubernetes.io/automanaged is restored with a warning;
//     kube-apiserver does not get ready with it.
//
// Admission and discovery:
//
//   - Webhooks, admission policies and the host's plugins do not see the server's own
//     writes before Start returns and after Stop begins, and never see those to the
//     endpoints of the kubernetes Service. A webhook that rejects everything or hangs
//     cannot prevent a start or a stop.
//   - An admission configuration that names an unknown plugin, or one plugin twice, is an
//     error. kube-apiserver ignores it. Kubeconfigs with secrets that all users of the
//     machine can read are refused, and so are unknown fields in the configurations of
//     ImagePolicyWebhook and PodNodeSelector.
//   - An informer that an admission policy starts for parameters of a built-in kind
//     runs until the server stops. Upstream stops it with the policy. Later policies
//     with such parameters then do not see changes of them.
//   - OpenAPI documents are built on first use, and listed without a hash of their
//     content.
//   - Services of webhooks and aggregated API servers are resolved to their
//     endpoints, as with --enable-aggregator-routing.
//
// Connections of the server:
//
//   - The serving certificate of a kubelet must be signed by PKI's KubeletServingCA or
//     CA, have the node's subject CN=system:node:NAME, O=system:nodes, and be valid
//     for its address. Config.KubeletInsecureTLS disables this check. By default
//     kube-apiserver verifies no certificate, and never the name. The server name of
//     the handshake is the node's name.
//   - The server does not call a kubelet at an endpoint of etcd or of an API server
//     that shares the etcd. It does not proxy to etcd, or to the insecure listener of
//     such a server. Servers reject the certificate with which they call kubelets,
//     except in a SelfSubjectReview.
//   - The server does not connect to kubelets, pods and Services at loopback addresses
//     (unless Listener is on loopback and the node has registered one for its
//     kubelet) or at metadata services of clouds. It checks the addresses that names
//     resolve to. It does not connect to pods, Services and other ports of nodes at
//     link-local addresses either.
//   - HTTP(S)_PROXY has no effect on these connections.
//
// Other:
//
//   - The secret of a bootstrap token may have more than upstream's 16 characters.
//   - Profiling and log-level handlers, which affect the process, are off.
//   - Config.RuntimeConfig may switch off any group: the server's own informers find
//     no objects of it.
//
// # RBAC for nodes
//
// Upstream's bootstrap policy has no rules for nodes that join: kubeadm and other
// installers add them. Here they are part of the policy, and a start repairs them
// too:
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
// "false", as for upstream's.
//
// # Limits of requests
//
// The server reads and measures bodies for built-in APIs and custom resources before
// upstream decodes them, because the decoders trust their input (internal/wire). It
// rejects clients without credentials or permissions before it reads the body.
// Aggregated API servers have their own limits.
//
//   - Size: 3 MiB, as upstream, or Config.Limits.MaxRequestBodyBytes, for which New asks
//     etcd whether it takes such requests. CertificateSigningRequests 32 KiB, their
//     status and approval 128 KiB; reviews, leases, evictions, bindings, scale, token
//     requests and the options of a deletion 64 KiB. Nodes may send 1 MiB, and clients
//     that only have a join token 32 KiB. Larger bodies get HTTP 413.
//   - Depth: 1,000 levels in any encoding, also of JSON inside protobuf. Paths of a
//     JSON patch may have 512 elements. Deeper bodies get HTTP 400.
//   - Estimated memory when decoded: 64 MiB, for CRDs and custom resources 128 MiB.
//     All requests together may take 192 MiB at once, 64 MiB of it reserved for
//     administrators. Above 3 MiB, Config.Limits.MaxRequestBodyBytes raises these
//     limits in proportion. A request waits up to ten seconds for memory, and then
//     gets HTTP 429. Bodies of up to 256 KiB decoded do not wait.
//   - The "copy" operations of a JSON patch may copy 256 KiB. Upstream keeps this
//     limit in a variable of the process.
//   - RSA keys of CertificateSigningRequests: 8,192 bits.
//   - A protobuf body must have an apiVersion and a kind.
//   - At most 100 errors of an invalid object of a built-in type are reported.
//
// Clients may store limited amounts, and get HTTP 429 beyond them. A client with a
// join token may create 32 MiB at once and 8 MiB an hour; a request of 1 kB takes
// 7 kB of it. A node may write 48 MiB at once and 512 MiB an hour, updates included,
// and has a separate budget for Leases. Resources of Config.EtcdOverrides have budgets of
// the same size, for all other etcds together. They may have 1,000 and 3,000 open
// watches. Config.StorageUsed reserves the end of etcd's quota for administrators: other
// clients get HTTP 507.
//
// # Authentication
//
// Config.Authentication adds users to those with certificates of PKI, service accounts
// and bootstrap tokens. The order for a request is: tokens of this process and
// certificates of PKI for group system:masters; Authentication.Before; the host's proxy
// and client CAs; the front proxy, PKI's certificates and tokens (static, service
// accounts, JWT issuers, webhook); bootstrap tokens; Authentication.After; anonymous. The
// first that accepts decides. A token of this process comes after a client certificate
// that is accepted.
//
// Authenticators of the host are also asked about TokenReviews, with the Authorization
// header and an empty URL.
//
// CAs in Authentication.ClientCAs cannot certify names that begin with "system:" or the
// control plane's own users. Replaced JWT issuers take effect when all new or changed
// ones have answered; tokens that were used before are cached for ten seconds.
//
// # Authorization
//
// Config.Authorization is a chain of authorizers: upstream's, webhooks and the host's
// own. The first one that allows or denies decides. Group system:masters comes before all
// of them. An authorizer in Go should have no opinion about users and groups that begin
// with "system:". A start, a reload and Server.SetAuthorization are refused if one denies
// kubelets, the scheduler or another identity of the control plane. The server asks the
// webhooks and the host's authorizers about these identities then. A change takes effect
// between two requests, and a bad one keeps the chain before.
//
// # Failing code of the host
//
// One rule holds for authenticators, authorizers, admission plugins, handlers and
// Config.Metrics of the host:
//
//   - If it panics, or ends its goroutine, the request fails with HTTP 500.
//   - If it has not returned in time, the request fails with HTTP 504. Authenticators,
//     authorizers and plugins have until shortly before the timeout of the request: a
//     tenth of it, one second at most. For requests without a timeout, such as watches,
//     it is RequestTimeout.
//   - If 10,000 earlier calls have not returned, the request fails with HTTP 503.
//
// The answer has the name of the code: the field, or the Name of an authorizer or a
// plugin. The value and the stack of a panic are in the log only. No other authenticator
// or authorizer decides about the request. SubjectAccessReviews and rules reviews have a
// failure of an authorizer as their evaluationError, without a denial, and TokenReviews
// that of an authenticator as their error. Audit events have the answer that the client
// got.
//
// A check of Config.ReadyzChecks that fails in this way has the reason at /readyz/NAME.
// An admission plugin that does so while it is made or initialized, within a minute,
// fails New with its name. Listeners, connections, dialers and transformers of the host
// may panic: the error names the field of Config. A Listener whose Accept fails closes
// Failed. Stop waits three seconds for its Close and Accept, names it, and goes on.
//
// # Audit
//
// Config.Audit sends the events of one policy to a file, to a webhook and to functions of
// the host. Each sink has a buffer: requests never wait for it or fail for it. Events
// that a sink misses are counted in kubembed_audit_events_dropped_total and logged once a
// minute at most. When the server stops, webhook and sinks have three seconds for the
// last events and one more to return.
//
// # Networks
//
// Config.Network adds a second range of Services, of the other IP family, to
// Config.ServiceCIDR. It can be added to stored data, and must stay from then on.
// Config.Dialers are functions of the host that connect to nodes, to webhooks and to
// aggregated API servers, for example through a tunnel. Addresses that the server refuses
// without a dialer are refused before the dialer is called, and certificates are verified
// through it. Config.TracerProvider gets spans of requests and of etcd, without its
// watches. A trace in the context of a client in this process continues in the server if
// the client is in system:masters or system:monitoring. It is linked otherwise. If the
// DNS of this machine does not answer, Dialers.Nodes cannot reach nodes that have only
// host names.
//
// # Several etcds
//
// Config.EtcdOverrides stores resources such as Events and Leases in other etcds.
// Resources by which requests are authorized and admitted stay together, because a
// decision waits for acknowledged writes of them. Resource versions of different etcds
// cannot be compared.
//
// # Certificates
//
// By default clients get PKI's certificate. Config.Serving adds certificates of the
// host's. The server then still shows PKI's for the names of the kubernetes Service, and
// at IP addresses that only PKI's has: clients that verify with PKI's CA ask for
// kubernetes.default.svc at any address (Server.ServerName). Unlike kube-apiserver, the
// server refuses expired certificates and keys that every user can read, at the start and
// at a reload. A Secret that is mounted in a pod needs defaultMode 0440 or less.
//
// # Several servers
//
// With Config.Shared several servers work on the same data, as several kube-apiservers
// do:
//
//   - Each has its own ID, from its machine's name, address and port, and a Lease in
//     kube-system with that name.
//   - The endpoints of the kubernetes Service are the running servers. A server that
//     stops is removed at once, and one that is killed within 25 seconds. As upstream,
//     all endpoints have one port: servers that are not on loopback must listen on the
//     same port.
//   - A CRD is established five seconds after its names are accepted, and the first
//     object waits for two more, so that all servers have the CRD.
//   - A write through one server takes effect in the others within milliseconds: roles,
//     webhooks, policies, APIServices. WaitForInformers and the other waits apply to
//     the server that they are called on.
//   - Each publishes its names, addresses and endpoints under PREFIX/kubembed/servers
//     in etcd, for an hour after its last renewal: see Server.Reserved.
//   - They may be one Kubernetes minor version apart. The key PREFIX/kubembed/version
//     in etcd records it; see ErrVersionSkew. A standalone server does not go back to
//     an older minor version, and does not skip one.
//
// The caller runs the controllers that must not run in several servers.
//
// # While etcd is unavailable
//
// The checks etcd and etcd-readiness fail. Reads from the watch cache succeed.
// Requests that need etcd fail with HTTP 500 after three seconds, and then at once,
// where kube-apiserver would let them wait for a minute. Watches stay open. The
// server recovers when etcd is back. An etcd that keeps connections but does not
// answer holds requests for up to Config.RequestTimeout. When a Service asks for a
// node port meanwhile, upstream's client of etcd, which takes no logger, writes to
// standard error.
//
// # Consistency of authorization and admission
//
// Authorization and admission read informers, which lag about a millisecond behind a
// write. A request waits until the informers have the writes that it depends on and
// that this server has acknowledged, or shown to a reader of the object. These are
// writes of:
//
//   - roles and bindings;
//   - namespaces, quotas, limit ranges, service accounts;
//   - priority, runtime, storage and ingress classes;
//   - webhook configurations and CustomResourceDefinitions;
//   - pods and volumes, for nodes that would be refused.
//
// Each decision waits for a second at most; later decisions do not wait for the same
// write again. Requests do not wait for:
//
//   - the compilation of admission policies, in force some 20 ms after their change;
//   - a node's access to an object that a pod has just stopped using;
//   - the new schema of a custom resource in use (WaitForInformers);
//   - writes that the client has only seen in a list or a watch;
//   - writes of other servers of the same etcd.
//
// # Fatal errors of upstream
//
// Upstream exits the process when one of its start hooks returns an error, and hooks
// return errors when they are interrupted. Stop therefore waits for hooks, for up to
// five seconds. Hooks that poll for seconds and then give up are replaced. The fatal
// error of any other hook ends that hook and not the process (see the root package on
// klog.OsExit). New and Start return upstream's fatal errors and panics on their
// goroutines as errors. Goroutines of unfinished parts, which upstream cannot stop, may
// remain afterwards. Package controlplane also returns the fatal errors of all other
// goroutines of the server as errors.
//
// # Flags of kube-apiserver
//
// For every flag of kube-apiserver 1.37: the field of Config, the value that the server
// always has, or the reason why the flag has no meaning in a library. Parentheses name
// what package controlplane has instead. The order is that of kube-apiserver's help.
//
//	generic
//	  --advertise-address                             AdvertiseAddress
//	  --cors-allowed-origins                          Serving.CORSAllowedOrigins
//	  --emulated-version
//	       none: of the process, which has one version (k8s.io/component-base)
//	  --emulation-forward-compatible                  always false
//	  --external-hostname                             Network.ExternalHost
//	  --feature-gates
//	       none: of the process, which has one set of gates (k8s.io/apiserver)
//	  --goaway-chance                                 Serving.GoawayChance
//	  --livez-grace-period                            always 0s
//	  --max-mutating-requests-inflight                MaxMutatingRequestsInFlight
//	  --max-requests-inflight                         MaxRequestsInFlight
//	  --min-compatibility-version
//	       none: of the process, as --emulated-version
//	  --min-request-timeout                           Limits.MinRequestTimeout
//	  --request-timeout                               RequestTimeout
//	  --runtime-config-emulation-forward-compatible   always false
//	  --shutdown-delay-duration
//	       none: the host decides when it calls Stop
//	  --shutdown-send-retry-after                     always false
//	  --shutdown-watch-termination-grace-period
//	       none: watches end when Stop begins
//	  --storage-initialization-timeout                none: the context of Start
//	  --strict-transport-security-directives          Serving.HSTSDirectives
//
//	etcd
//	  --default-watch-cache-size
//	       none: without effect in kube-apiserver
//	  --delete-collection-workers                     Limits.DeleteCollectionWorkers
//	  --enable-garbage-collector                      always true
//	  --encryption-provider-config                    Encryption
//	  --encryption-provider-config-automatic-reload   none: Encryption is no file
//	  --etcd-cafile                                   Client (Etcd.CA)
//	  --etcd-certfile                                 Client (Etcd.Cert)
//	  --etcd-compaction-interval
//	      Limits.CompactionInterval, Limits.DisableCompaction
//	  --etcd-count-metric-poll-period
//	       always 0s: no metric of stored objects
//	  --etcd-db-metric-poll-interval
//	       always 0s: see Health of package etcd
//	  --etcd-healthcheck-timeout                      always 2s
//	  --etcd-keyfile                                  Client (Etcd.Key)
//	  --etcd-prefix                                   Prefix (Etcd.Prefix)
//	  --etcd-readycheck-timeout                       always 2s
//	  --etcd-servers                                  Client (Etcd.Endpoints)
//	  --etcd-servers-overrides                        EtcdOverrides
//	  --lease-reuse-duration-seconds                  always 60
//	  --storage-backend                               always etcd3
//	  --storage-media-type
//	       always application/vnd.kubernetes.protobuf
//	  --watch-cache                                   Limits.DisableWatchCache
//	  --watch-cache-sizes                             Limits.WatchCacheSizes
//
//	secure serving
//	  --bind-address                                  Listener (BindAddress)
//	  --cert-dir                                      PKI (DataDir)
//	  --disable-http2-serving                         Serving.DisableHTTP2
//	  --http2-max-streams-per-connection
//	       Serving.HTTP2MaxStreamsPerConnection
//	  --permit-address-sharing                        Listener
//	  --permit-port-sharing                           Listener
//	  --secure-port                                   Listener (BindAddress)
//	  --tls-cert-file                                 Serving.CertFile
//	  --tls-cipher-suites                             Serving.CipherSuites
//	  --tls-curve-preferences                         Serving.CurvePreferences
//	  --tls-min-version                               Serving.MinTLSVersion
//	  --tls-private-key-file                          Serving.KeyFile
//	  --tls-sni-cert-key                              Serving.SNICertificates
//
//	auditing
//	  --audit-log-batch-buffer-size                   Audit.Log.Delivery.BufferSize
//	  --audit-log-batch-max-size                      Audit.Log.Delivery.MaxBatchSize
//	  --audit-log-batch-max-wait                      Audit.Log.Delivery.MaxBatchWait
//	  --audit-log-batch-throttle-burst                Audit.Log.Delivery.ThrottleBurst
//	  --audit-log-batch-throttle-enable               Audit.Log.Delivery.ThrottleQPS
//	  --audit-log-batch-throttle-qps                  Audit.Log.Delivery.ThrottleQPS
//	  --audit-log-compress                            Audit.Log.Compress
//	  --audit-log-format                              Audit.Log.Format
//	  --audit-log-maxage                              Audit.Log.MaxAgeDays
//	  --audit-log-maxbackup                           Audit.Log.MaxBackups
//	  --audit-log-maxsize                             Audit.Log.MaxSizeMB
//	  --audit-log-mode                                Audit.Log.Delivery.Mode
//	  --audit-log-path                                Audit.Log.Path
//	  --audit-log-truncate-enabled                    Audit.Log.Delivery.Truncate
//	  --audit-log-truncate-max-batch-size             Audit.Log.Delivery.MaxBatchBytes
//	  --audit-log-truncate-max-event-size             Audit.Log.Delivery.MaxEventBytes
//	  --audit-log-version                             Audit.Log.Delivery.Version
//	  --audit-policy-file                             Audit.PolicyFile
//	  --audit-webhook-batch-buffer-size
//	      Audit.Webhook.Delivery.BufferSize
//	  --audit-webhook-batch-initial-backoff
//	       none: another name of --audit-webhook-initial-backoff
//	  --audit-webhook-batch-max-size
//	      Audit.Webhook.Delivery.MaxBatchSize
//	  --audit-webhook-batch-max-wait
//	      Audit.Webhook.Delivery.MaxBatchWait
//	  --audit-webhook-batch-throttle-burst
//	      Audit.Webhook.Delivery.ThrottleBurst
//	  --audit-webhook-batch-throttle-enable
//	      Audit.Webhook.Unthrottled
//	  --audit-webhook-batch-throttle-qps
//	      Audit.Webhook.Delivery.ThrottleQPS
//	  --audit-webhook-config-file                     Audit.Webhook.KubeconfigFile
//	  --audit-webhook-initial-backoff                 Audit.Webhook.InitialBackoff
//	  --audit-webhook-mode                            Audit.Webhook.Delivery.Mode
//	  --audit-webhook-truncate-enabled                Audit.Webhook.Delivery.Truncate
//	  --audit-webhook-truncate-max-batch-size
//	      Audit.Webhook.Delivery.MaxBatchBytes
//	  --audit-webhook-truncate-max-event-size
//	      Audit.Webhook.Delivery.MaxEventBytes
//	  --audit-webhook-version                         Audit.Webhook.Delivery.Version
//
//	features
//	  --contention-profiling
//	       none: of the process (runtime.SetBlockProfileRate)
//	  --debug-socket-path
//	       none: the host can serve net/http/pprof
//	  --enable-priority-and-fairness
//	       Limits.DisablePriorityAndFairness
//	  --profiling                                     Profiling
//
//	authentication
//	  --anonymous-auth                                Authentication.Anonymous
//	  --api-audiences                                 Authentication.Audiences
//	  --authentication-config                         Authentication.ConfigurationFile
//	  --authentication-token-webhook-cache-ttl        Authentication.Webhook.CacheTTL
//	  --authentication-token-webhook-config-file
//	       Authentication.Webhook.KubeconfigFile
//	  --authentication-token-webhook-version          Authentication.Webhook.Version
//	  --client-ca-file
//	      PKI: ClientCAs of its Config, and Authentication.ClientCAs
//	  --enable-bootstrap-token-auth                   always true
//	  --oidc-ca-file                                  Authentication.Configuration
//	  --oidc-client-id                                Authentication.Configuration
//	  --oidc-groups-claim                             Authentication.Configuration
//	  --oidc-groups-prefix                            Authentication.Configuration
//	  --oidc-issuer-url                               Authentication.Configuration
//	  --oidc-required-claim                           Authentication.Configuration
//	  --oidc-signing-algs                             Authentication.SigningAlgorithms
//	  --oidc-username-claim                           Authentication.Configuration
//	  --oidc-username-prefix                          Authentication.Configuration
//	  --requestheader-allowed-names
//	       Authentication.RequestHeader.AllowedNames
//	  --requestheader-client-ca-file                  Authentication.RequestHeader.CAs
//	  --requestheader-extra-headers-prefix
//	       Authentication.RequestHeader.ExtraHeaderPrefixes
//	  --requestheader-group-headers
//	       Authentication.RequestHeader.GroupHeaders
//	  --requestheader-uid-headers
//	       Authentication.RequestHeader.UIDHeaders
//	  --requestheader-username-headers
//	       Authentication.RequestHeader.UsernameHeaders
//	  --service-account-extend-token-expiration
//	      ServiceAccounts.NoExtendedExpiration
//	  --service-account-issuer                        ServiceAccounts.Issuers
//	  --service-account-jwks-uri                      ServiceAccounts.JWKSURI
//	  --service-account-key-file                      PKI: sa.pub in its directory
//	  --service-account-lookup                        always true
//	  --service-account-max-token-expiration
//	       ServiceAccounts.MaxTokenExpiration
//	  --token-auth-file                               Authentication.TokenFile
//
//	authorization
//	  --authorization-config                          Authorization.ConfigurationFile
//	  --authorization-mode                            Authorization.Modes
//	  --authorization-policy-file                     Authorization.PolicyFile
//	  --authorization-webhook-cache-authorized-ttl    Authorization.Configuration
//	  --authorization-webhook-cache-unauthorized-ttl  Authorization.Configuration
//	  --authorization-webhook-config-file             Authorization.Configuration
//	  --authorization-webhook-version                 Authorization.Configuration
//
//	API enablement
//	  --runtime-config                                RuntimeConfig
//
//	egress selector
//	  --egress-selector-config-file                   Dialers
//
//	admission
//	  --admission-control                             EnableAdmissionPlugins
//	  --admission-control-config-file                 Admission.ConfigurationFile
//	  --default-not-ready-toleration-seconds
//	       none: of the process (a variable of plugin DefaultTolerationSeconds)
//	  --default-unreachable-toleration-seconds        none: of the process, likewise
//	  --disable-admission-plugins                     DisableAdmissionPlugins
//	  --enable-admission-plugins                      EnableAdmissionPlugins
//
//	metrics
//	  --allow-metric-labels
//	       none: of the process, which has one set of metrics (k8s.io/component-base)
//	  --allow-metric-labels-manifest                  none: of the process, likewise
//	  --disabled-metrics                              none: of the process, likewise
//	  --show-hidden-metrics-for-version               none: of the process, likewise
//
//	logs
//	  --log-flush-frequency                           Logger
//	  --log-text-info-buffer-size                     Logger
//	  --log-text-split-stream                         Logger
//	  --logging-format                                Logger
//	  --v                                             Logger
//	  --vmodule                                       Logger
//
//	traces
//	  --tracing-config-file                           TracerProvider
//
//	misc
//	  --aggregator-reject-forwarding-redirect         always true
//	  --allow-privileged
//	       always true, unless the host has called Setup of pkg/capabilities before
//	  --apiserver-count                               Shared
//	  --coordinated-leadership-lease-duration         always 15s
//	  --coordinated-leadership-renew-deadline         always 10s
//	  --coordinated-leadership-retry-period           always 2s
//	  --enable-aggregator-routing                     always true
//	  --enable-logs-handler
//	       always false: Serving.Handlers can serve files
//	  --endpoint-reconciler-type                      Network.DisableEndpoints
//	  --event-ttl                                     EventTTL
//	  --kubelet-certificate-authority                 PKI: kubelet-serving-ca.crt
//	  --kubelet-client-certificate
//	       PKI: apiserver-kubelet-client.crt
//	  --kubelet-client-key
//	       PKI: apiserver-kubelet-client.key
//	  --kubelet-port
//	       none: deprecated; Nodes have the port
//	  --kubelet-preferred-address-types
//	       always InternalIP, ExternalIP, Hostname
//	  --kubelet-read-only-port                        none: deprecated, without effect
//	  --kubelet-timeout                               always 5s
//	  --kubernetes-service-node-port                  always 0
//	  --max-connection-bytes-per-sec                  always 0, as --allow-privileged
//	  --peer-advertise-ip
//	       none: servers do not forward requests to each other
//	  --peer-advertise-port                           none: likewise
//	  --peer-ca-file                                  none: likewise
//	  --proxy-client-cert-file
//	      PKI: front-proxy-client.crt in its directory
//	  --proxy-client-key-file
//	      PKI: front-proxy-client.key in its directory
//	  --service-account-signing-endpoint              ServiceAccounts.SigningEndpoint
//	  --service-account-signing-key-file              PKI: sa.key in its directory
//	  --service-cluster-ip-range
//	       ServiceCIDR, Network.SecondaryServiceCIDR
//	  --service-node-port-range                       Network.ServiceNodePortRange
package apiserver
