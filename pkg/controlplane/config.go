// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"maps"
	"net"
	"slices"
	"time"

	oteltrace "go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// Config is the configuration of a control plane. Its zero value is a complete, private,
// ephemeral control plane on a free loopback port. Start copies it: later changes have no
// effect.
type Config struct {
	// DataDir is the directory for etcd's data, certificates and keys. It is created with
	// mode 0700 if it is missing, and can be used by one running control plane at a time.
	// Every acknowledged write survives a crash and a power cut. The first start needs
	// 284 MiB of free space. The directory must belong to the user of the process or to
	// root, without write permission for group and others: on a shared volume, use a
	// subdirectory. If empty, the control plane is ephemeral: it uses a directory
	// kubembed-* in os.TempDir without fsync, and removes it when it stops. The next
	// start by the same user removes the directory of a killed process.
	DataDir string

	// NewCluster confirms that a new cluster is wanted if DataDir has lost its etcd data,
	// a CA, or the service-account keys. Missing parts are created again, empty or new.
	// Existing parts stay. Objects that were stored under other keys, also in an external
	// etcd, are taken over. Earlier clients, nodes and tokens are no longer accepted. Set
	// it for one start only: it disables the protection against a disk that is not
	// mounted. If false, such a start fails with etcd.ErrDataMissing, pki.ErrKeysMissing
	// or etcd.ErrOtherCluster.
	NewCluster bool

	// BindAddress is the IP address and port to serve HTTPS on. Workers can join if they
	// can reach it. An empty host or 0.0.0.0 is every IPv4 address of the machine and no
	// IPv6 address, [::] is every address of both families, localhost is 127.0.0.1. Port
	// 0 is a free port. DataDir remembers it, so that kubeconfigs remain valid after a
	// restart. If another process has taken that port, the start logs a warning and uses
	// another free port from then on. A DataDir made by Restore starts with a new port.
	// If empty, "127.0.0.1:0".
	BindAddress string

	// Listener accepts the connections of HTTPS, before TLS: a socket that the system has
	// opened, the listener of a VPN, a Unix socket. The control plane closes it when it
	// stops, and when it does not start for another reason than an invalid Config.
	// BindAddress must be empty if the Listener's Addr is an IP address and a port.
	// Otherwise it is the IP address and port, not 0, at which clients reach the
	// Listener, for example through a proxy that passes TLS on: nothing is bound there,
	// and it is in URLs, kubeconfigs and the endpoints of the kubernetes Service. DataDir
	// remembers no port of a Listener. If nil, the control plane listens on BindAddress.
	Listener net.Listener

	// AdvertiseAddress is the IP address at which workers reach the control plane. It is
	// in kubeconfigs, in the serving certificate and in the endpoints of the kubernetes
	// Service. If empty, the address of BindAddress, or if that is every address, the
	// address of the machine's default route. Endpoints cannot have loopback addresses:
	// if BindAddress is loopback and this is empty, they have the address of the machine,
	// as with kube-apiserver, although nothing listens there.
	AdvertiseAddress string

	// Hosts are further DNS names and IP addresses that clients use for the control
	// plane. The serving certificate has them, and always loopback, the machine's name,
	// BindAddress, AdvertiseAddress, Network.ExternalHost and the kubernetes Service.
	Hosts []string

	// InsecureAddr is an IP address and port, like BindAddress, to serve plain HTTP on,
	// without TLS, authentication and authorization: every client is an administrator. It
	// is for demonstrations on a trusted network. Requests of web pages of other origins
	// are refused, and so is the proxy of pods, services and nodes for browsers: a page
	// of a pod would be an administrator too. If empty, off.
	InsecureAddr string

	// ServiceCIDR is the range of Service cluster IPs. It must have at least 8 addresses,
	// and no loopback, link-local, multicast, broadcast or unspecified ones. An IPv6
	// range must be /64 or smaller and not IPv4-mapped. It must not change during the
	// life of the objects, in DataDir or in an external etcd: Start then fails before it
	// changes anything. If empty, "10.0.0.0/24", upstream's default.
	ServiceCIDR string

	// RuntimeConfig switches API groups, versions and resources on and off, like
	// kube-apiserver's --runtime-config: {"apps/v1": "false"}, or {"api/all": "false",
	// "v1": "true"} for little more than pods and nodes. Services get cluster IPs only
	// with networking.k8s.io/v1. Without rbac.authorization.k8s.io only nodes and
	// system:masters are authorized. v1, its secrets and its namespaces cannot be
	// switched off. If empty, kube-apiserver's defaults.
	RuntimeConfig map[string]string

	// EnableAdmissionPlugins and DisableAdmissionPlugins change the set of admission
	// plugins. The default set is kube-apiserver's and NodeRestriction, without
	// TaintNodesByCondition: only the node lifecycle controller
	// (pkg/components/controllers) removes the taint that this plugin gives new nodes.
	// With DisableCoreControllers the ServiceAccount plugin is off unless it is enabled
	// here, because it refuses pods in a namespace without a service account "default".
	// EventRateLimit and ImagePolicyWebhook need a configuration in Admission.
	EnableAdmissionPlugins, DisableAdmissionPlugins []string

	// Admission configures admission plugins, and adds the host's own. If zero, they have
	// their defaults.
	Admission apiserver.Admission

	// Authentication adds ways for clients to prove who they are. If zero, client
	// certificates, service-account tokens and bootstrap tokens are accepted.
	Authentication apiserver.Authentication

	// ServiceAccounts configures the tokens of service accounts.
	ServiceAccounts apiserver.ServiceAccounts

	// Authorization configures who may do what. If zero, the Node authorizer and RBAC
	// decide.
	Authorization apiserver.Authorization

	// Serving configures HTTPS and HTTP.
	Serving apiserver.Serving

	// Network configures Services, beside ServiceCIDR, and addresses.
	Network apiserver.Network

	// Dialers open the connections of the API server to nodes, webhooks and aggregated
	// API servers. If zero, it connects by itself.
	Dialers apiserver.Dialers

	// TracerProvider gets the spans of requests and of calls of etcd, as
	// kube-apiserver's with --tracing-config-file. Its sampler decides which are kept:
	// the server also calls etcd without a request. A request that a client in this
	// process makes with a span in its context belongs to the client's trace. As with
	// kube-apiserver, the trace of a client that is not in system:masters or
	// system:monitoring is not continued but linked. The host shuts it down, after Close.
	// If it panics, a request goes on without the span. If nil, there are no spans.
	TracerProvider oteltrace.TracerProvider

	// Limits bounds requests and caches.
	Limits apiserver.Limits

	// MaxRequestsInFlight and MaxMutatingRequestsInFlight together limit the number of
	// concurrent requests, which priority and fairness distributes. If zero, 400 and 200,
	// upstream's defaults.
	MaxRequestsInFlight, MaxMutatingRequestsInFlight int

	// RequestTimeout bounds every request except watches and other long-running ones. If
	// zero, one minute.
	RequestTimeout time.Duration

	// EventTTL is how long Events are kept. If zero, one hour.
	EventTTL time.Duration

	// KubeletInsecureTLS accepts serving certificates that kubelets have made themselves,
	// as they do without serverTLSBootstrap in their configuration. A program that
	// answers at the address of a node is then taken for its kubelet, and receives for
	// example the input of kubectl exec. If false, a kubelet must present a certificate
	// of the control plane for its node, which it can request.
	KubeletInsecureTLS bool

	// ClusterSigningDuration is the validity of certificates that clients get with a
	// CertificateSigningRequest, like kube-controller-manager's flag of that name. A
	// request may ask for less. Certificates are backdated by five minutes, so that
	// kubelets renew certificates of less than about two minutes continuously. If zero,
	// one year.
	ClusterSigningDuration time.Duration

	// KubeletSigningDuration is the validity of certificates that kubelets renew: all
	// serving certificates, all renewals, and the first client certificate of a kubelet
	// with rotateCertificates. The first certificate of a kubelet without it is valid for
	// ClusterSigningDuration, since its node is lost when that expires. A kubelet renews
	// after 70 to 90 % of the time. A machine that is off until its certificate has
	// expired must join again, with a valid join file, after its Node was deleted. It
	// must not be longer than ClusterSigningDuration. If zero, 30 days, or
	// ClusterSigningDuration if that is shorter.
	KubeletSigningDuration time.Duration

	// Components run beside the API server, from before Start returns until the control
	// plane stops. Their names must be different. If empty, none.
	Components []Component

	// DisableCoreControllers leaves out the controllers that every control plane has, for
	// hosts that run all of them. Deleted namespaces then stay Terminating, dependents
	// are not collected, and certificates are not signed, so that workers cannot join.
	// Namespaces get no service accounts, so that the ServiceAccount plugin is off.
	DisableCoreControllers bool

	// Profiling serves /debug/pprof of the process to clients that RBAC authorizes, by
	// default group system:masters, as kube-apiserver does by default. Profiles show the
	// code and the goroutines of the whole program. While a client takes a CPU profile,
	// the program cannot take one. If false, it is not served.
	Profiling bool

	// Audit records requests in a file, through a webhook, and in functions of the host.
	// If zero, off.
	Audit apiserver.Audit

	// Etcd configures where the state is kept. If zero, in a standalone etcd member in
	// this process.
	Etcd Etcd

	// PKI holds the CAs and keys of another control plane, from Server.PKI, for a control
	// plane that shares its etcd or belongs to the same cluster. Each then accepts the
	// clients of the others. They are written to DataDir if it has none, and must not
	// contradict those in it. If empty, those in DataDir, or new ones.
	PKI []byte

	// Encryption encrypts stored objects. If zero, objects are stored unencrypted.
	Encryption apiserver.Encryption

	// Snapshots configures snapshots at intervals and of Server.TakeSnapshot. If zero,
	// only Server.TakeSnapshot takes any.
	Snapshots Snapshots

	// SnapshotKey authenticates all snapshots. Each ends with a MAC, with which Restore
	// with the same RestoreConfig.Key detects that it was made or changed without the
	// key. At least 32 random bytes, kept apart from DataDir and the snapshots. If nil,
	// snapshots have checksums only.
	SnapshotKey []byte

	// Logger receives the log of the control plane, and the lines that its Kubernetes
	// code writes with klog (see the package documentation). It is called in its own
	// goroutine and cannot block the control plane: while it blocks, 4,096 lines or 8 MiB
	// wait for it, and further lines are dropped. Shutdown, Close and a failed Start wait
	// until it has written the last line. They return an error if it takes longer than
	// two seconds for a line. If nil, nothing is logged.
	Logger *zap.Logger

	// clock is for tests of certificates. If nil, the machine's clock.
	clock clock.WithTicker
}

const (
	defaultBindAddress = "127.0.0.1:0"
	defaultServiceCIDR = "10.0.0.0/24"
	// defaultKubeletSigningDuration leaves three days to a machine that is off at the
	// worst time.
	defaultKubeletSigningDuration = 30 * 24 * time.Hour
)

// clone returns a deep copy with defaults.
func (c Config) clone() Config {
	c.Hosts = slices.Clone(c.Hosts)
	c.RuntimeConfig = maps.Clone(c.RuntimeConfig)
	c.EnableAdmissionPlugins = slices.Clone(c.EnableAdmissionPlugins)
	c.DisableAdmissionPlugins = slices.Clone(c.DisableAdmissionPlugins)
	c.Components = slices.Clone(c.Components)
	c.Etcd = c.Etcd.clone()
	c.PKI = slices.Clone(c.PKI)
	c.SnapshotKey = slices.Clone(c.SnapshotKey)
	c.Encryption = c.Encryption.Clone()
	c.Admission = c.Admission.Clone()
	c.Authentication = c.Authentication.Clone()
	c.ServiceAccounts = c.ServiceAccounts.Clone()
	c.Authorization = c.Authorization.Clone()
	c.Serving = c.Serving.Clone()
	c.Network = c.Network.Clone()
	c.Limits = c.Limits.Clone()
	if c.Listener != nil && c.BindAddress == "" {
		if addr, ok := serving.Address(c.Listener); ok {
			c.BindAddress = addr.String()
		}
	}
	c.Audit = c.Audit.Clone()
	if c.BindAddress == "" {
		c.BindAddress = defaultBindAddress
	}
	if c.ServiceCIDR == "" {
		c.ServiceCIDR = defaultServiceCIDR
	}
	if c.ClusterSigningDuration == 0 {
		c.ClusterSigningDuration = 365 * 24 * time.Hour
	}
	if c.KubeletSigningDuration == 0 {
		c.KubeletSigningDuration = min(defaultKubeletSigningDuration, c.ClusterSigningDuration)
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// apiserver returns the configuration of the API server.
func (c Config) apiserver() apiserver.Config {
	return apiserver.Config{
		RuntimeConfig:               c.RuntimeConfig,
		EnableAdmissionPlugins:      c.EnableAdmissionPlugins,
		DisableAdmissionPlugins:     c.DisableAdmissionPlugins,
		Admission:                   c.Admission,
		Authentication:              c.Authentication,
		ServiceAccounts:             c.ServiceAccounts,
		Authorization:               c.Authorization,
		Serving:                     c.Serving,
		Network:                     c.Network,
		Dialers:                     c.Dialers,
		TracerProvider:              c.TracerProvider,
		Limits:                      c.Limits,
		MaxRequestsInFlight:         c.MaxRequestsInFlight,
		MaxMutatingRequestsInFlight: c.MaxMutatingRequestsInFlight,
		RequestTimeout:              c.RequestTimeout,
		EventTTL:                    c.EventTTL,
		Audit:                       c.Audit,
		Encryption:                  c.Encryption,
		Prefix:                      c.Etcd.Prefix,
		Shared:                      c.Etcd.shared(),
		KubeletInsecureTLS:          c.KubeletInsecureTLS,
		Profiling:                   c.Profiling,
		Controllers:                 !c.DisableCoreControllers,
		Logger:                      c.Logger.Named("apiserver"),
	}
}
