// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	oteltrace "go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	upstreamflagz "k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/apiserver/pkg/server/healthz"
	storagevalue "k8s.io/apiserver/pkg/storage/value"

	"github.com/kubembed/kubembed/internal/apiserver/endpoints"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/storage"
	"github.com/kubembed/kubembed/pkg/pki"
)

// Config configures an API server. Listener, Client, PKI and Dir must be set; the zero
// value of every other field works.
type Config struct {
	// Listener accepts the connections of HTTPS, before TLS. The server closes it. Its
	// Addr must be an IP address and a port: upstream publishes the port.
	Listener net.Listener
	// Client is the etcd client. The caller owns it, and must close it after Stop.
	Client *clientv3.Client
	// PKI holds the certificates that the server serves with, trusts and issues.
	PKI *pki.PKI
	// Dir is an existing directory with mode 0700, for data that upstream only takes
	// as files, including a private key. The caller owns it, and removes it after Stop.
	Dir string

	// Dial connects to etcd for upstream code that makes its own connections. If nil,
	// that code connects to Client's endpoints without Client's TLS settings and
	// credentials: set Dial for an etcd that requires them.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// InsecureListener accepts plain HTTP without authentication or
	// authorization. If nil, there is none. The server closes it.
	InsecureListener net.Listener
	// AdvertiseAddress is the address at which the members of the cluster reach the
	// server. It is the endpoint of the kubernetes Service, which has no endpoint for a
	// loopback address. If nil, the Listener's address; if that is unspecified, a
	// loopback address. If it is nil and the Listener is on loopback, the endpoint is
	// the address of this machine, as with kube-apiserver, although only this machine
	// can reach the server. The Service has no endpoint then if the machine has no
	// address of ServiceCIDR's family, or if Shared is set.
	AdvertiseAddress net.IP
	// ServiceCIDR is the range of Service cluster IPs. If nil, 10.0.0.0/24,
	// upstream's default.
	ServiceCIDR *net.IPNet
	// Network configures Services and the addresses of the server.
	Network Network

	// RuntimeConfig switches API groups, versions and resources on and off,
	// like kube-apiserver's --runtime-config: {"apps/v1": "false"}, or
	// {"api/all": "false", "v1": "true"} for little more than pods and nodes.
	// Nil serves upstream's defaults. Services only get cluster IPs if
	// networking.k8s.io/v1 is served. Without rbac.authorization.k8s.io only nodes and
	// system:masters have permissions.
	RuntimeConfig map[string]string
	// EnableAdmissionPlugins and DisableAdmissionPlugins change the set of
	// admission plugins: kube-apiserver's defaults and NodeRestriction, without
	// TaintNodesByCondition, and without ServiceAccount if Controllers is false.
	// EventRateLimit and ImagePolicyWebhook need a configuration in Admission. A plugin
	// in both lists is an error.
	EnableAdmissionPlugins, DisableAdmissionPlugins []string

	// Admission configures plugins, and adds the host's own.
	Admission Admission
	// Authentication adds ways for clients to prove who they are.
	Authentication Authentication
	// ServiceAccounts configures the tokens of service accounts.
	ServiceAccounts ServiceAccounts
	// Authorization configures who may do what.
	Authorization Authorization
	// Serving configures HTTPS and HTTP.
	Serving Serving
	// Dialers open the connections of the server to nodes, webhooks and aggregated API
	// servers. If zero, it connects by itself.
	Dialers Dialers
	// TracerProvider gets the spans of requests and of calls of etcd, as
	// kube-apiserver's with --tracing-config-file. Its sampler decides which are kept:
	// the server also calls etcd without a request. A request that a client in this
	// process makes with a span in its context belongs to the client's trace. As with
	// kube-apiserver, the trace of a client that is not in system:masters or
	// system:monitoring is not continued but linked. The host shuts it down, after Stop.
	// If it panics, a request goes on without the span. If nil, there are no spans.
	TracerProvider oteltrace.TracerProvider
	// Limits bounds requests and caches.
	Limits Limits

	// MaxRequestsInFlight and MaxMutatingRequestsInFlight together are the
	// concurrency that priority and fairness distributes. If zero, 400 and 200,
	// upstream's defaults.
	MaxRequestsInFlight, MaxMutatingRequestsInFlight int
	// RequestTimeout bounds requests other than watches and other long-running
	// requests. If zero, one minute.
	RequestTimeout time.Duration
	// EventTTL is the time after which events expire. If zero, one hour.
	EventTTL time.Duration

	// KubeletInsecureTLS accepts any serving certificate of a kubelet except the API
	// server's own. By default the certificate must be signed by PKI's
	// KubeletServingCA or CA, have the node's subject, CN=system:node:NAME and
	// O=system:nodes, and be valid for the address that the API server connects to.
	KubeletInsecureTLS bool
	// Reserved are further DNS names and IP addresses, without ports, of the control
	// plane. They need not include AdvertiseAddress and the names in PKI's serving
	// certificate. See Server.Reserved. If empty, there are none.
	Reserved []string
	// PrivateEndpoints are further endpoints at which the process listens for parts of
	// the control plane only, such as etcd's. The server does not
	// connect to them on behalf of a client. If empty, there are none.
	PrivateEndpoints []netip.AddrPort

	// Controllers states that the caller runs upstream's controllers of service
	// accounts, of the ConfigMap kube-root-ca.crt and of aggregated ClusterRoles. Start
	// then does their first work itself, and the ServiceAccount admission plugin is on
	// by default: without the controllers it would reject every pod. The controllers
	// restore the rules of a deleted aggregated ClusterRole, after Start.
	Controllers bool
	// ReadyzChecks are added to /readyz. Start does not wait for them.
	ReadyzChecks []healthz.HealthChecker

	// Profiling serves /debug/pprof of the process to clients that are authorized for
	// these paths, by default group system:masters. kube-apiserver serves it by default.
	// A profile shows the code and the goroutines of the whole program, and the program
	// cannot take a CPU profile at the same time. If false, it is not served.
	Profiling bool
	// Metrics are served at /metrics. If nil, the metrics of legacyregistry, in which
	// upstream's packages register theirs. Servers register there with the label
	// control_plane, the address of Listener: kubembed_requests_total,
	// kubembed_requests_in_flight, kubembed_audit_events_dropped_total, and
	// kubembed_serving_certificate_reloads_total if Serving has files.
	Metrics prometheus.Gatherer

	// Audit records requests. Its zero value records none.
	Audit Audit
	// Encryption encrypts resources in etcd. If zero, they are stored in plaintext. New
	// fails with ErrUndecryptable if a stored object is encrypted with a key that is not
	// in it.
	Encryption Encryption
	// Transformers are the caller's own transformers. They cannot be set
	// together with Encryption.
	Transformers storagevalue.ResourceTransformers

	// Prefix is the prefix of all keys in etcd. Servers with different prefixes in one
	// etcd do not see each other; no prefix may contain another. If empty, "/registry",
	// kube-apiserver's default.
	Prefix string
	// EtcdOverrides store some resources in other etcds. If empty, all objects are in
	// Client's.
	EtcdOverrides []EtcdOverride
	// Shared states that other API servers may work on the same data, with the same PKI,
	// Encryption, ServiceCIDR and RuntimeConfig. See "Several servers" in the package
	// documentation.
	Shared bool

	// StorageUsed returns the number of bytes in use in etcd's database, and its quota.
	// The server rejects more as the database fills:
	//
	//   - At 70 %, creations by clients that only have a join token.
	//   - At 80 %, creations by nodes.
	//   - At 90 %, writes by all clients except administrators and the parts of the
	//     control plane.
	//
	// Deletions are always allowed. StorageUsed is called for every such write, and must
	// be fast. If nil, nothing is reserved for administrators.
	StorageUsed func() (inUse, quota int64)

	// auditStdout is set by access.SetAuditStdout.
	auditStdout bool
	// adopt, if not nil, is called at the start of each goroutine that serves a client in
	// this process. See access.SetAdopt.
	adopt func()
	// flags are shown at /flagz. If nil, they are made from the other fields.
	flags upstreamflagz.Reader
	// proxyClient are the files with the identity for aggregated API servers. If empty,
	// it is PKI's.
	proxyClient struct{ cert, key string }
	// components are the names of components. See access.SetComponents.
	components []string
	// lenient is set by access.SetLenient.
	lenient bool
	// metricsName names the control plane in metrics. If empty, the address of Listener.
	metricsName string
	// starting is the context of the start, or nil. See access.SetStarting.
	starting context.Context
	// endpoint is the endpoint of the kubernetes Service, if that is not
	// AdvertiseAddress.
	endpoint net.IP

	// Logger gets the messages of this package. If nil, they are dropped. Kubernetes
	// code logs to the host's klog, by default to standard error; package controlplane
	// redirects it to its Logger. Requests wait for the Logger, so it must not block.
	// Package controlplane puts a queue in front of it, which also limits what clients
	// can cause to be logged.
	Logger *zap.Logger
}

const defaultServiceAccountIssuer = "https://kubernetes.default.svc.cluster.local"

// clone returns a deep copy, except of functions and of what the host has made.
func (c Config) clone() Config {
	if c.ServiceCIDR != nil {
		c.ServiceCIDR = &net.IPNet{IP: slices.Clone(c.ServiceCIDR.IP), Mask: slices.Clone(c.ServiceCIDR.Mask)}
	}
	c.AdvertiseAddress = slices.Clone(c.AdvertiseAddress)
	c.RuntimeConfig = maps.Clone(c.RuntimeConfig)
	for _, list := range []*[]string{&c.EnableAdmissionPlugins, &c.DisableAdmissionPlugins, &c.Reserved, &c.components} {
		*list = slices.Clone(*list)
	}
	c.PrivateEndpoints = slices.Clone(c.PrivateEndpoints)
	c.ReadyzChecks = slices.Clone(c.ReadyzChecks)
	c.EtcdOverrides = slices.Clone(c.EtcdOverrides)
	for i := range c.EtcdOverrides {
		c.EtcdOverrides[i].Resources = slices.Clone(c.EtcdOverrides[i].Resources)
	}
	c.Network, c.Limits, c.Serving, c.Audit, c.Encryption = c.Network.Clone(), c.Limits.Clone(), c.Serving.Clone(), c.Audit.Clone(), c.Encryption.Clone()
	c.Admission, c.Authentication, c.ServiceAccounts, c.Authorization = c.Admission.Clone(), c.Authentication.Clone(), c.ServiceAccounts.Clone(), c.Authorization.Clone()
	return c
}

// withDefaults returns a copy with the defaults of all zero fields.
func (c Config) withDefaults() Config {
	if _, tcp := c.Listener.Addr().(*net.TCPAddr); !tcp {
		addr, _ := serving.Address(c.Listener) // validated
		c.Listener = serving.AtAddress(c.Listener, addr)
	}
	if c.ServiceCIDR == nil {
		c.ServiceCIDR = defaultServiceCIDR()
	}
	if c.AdvertiseAddress == nil {
		c.AdvertiseAddress = net.IPv4(127, 0, 0, 1)
		if tcp, ok := c.Listener.Addr().(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
			c.AdvertiseAddress = tcp.IP
		}
		if !c.Shared {
			c.endpoint = endpoints.MachineAddress(c.AdvertiseAddress, c.ServiceCIDR)
		}
	}
	if len(c.ServiceAccounts.Issuers) == 0 {
		c.ServiceAccounts.Issuers = []string{defaultServiceAccountIssuer}
	}
	if c.MaxRequestsInFlight == 0 {
		c.MaxRequestsInFlight = 400
	}
	if c.MaxMutatingRequestsInFlight == 0 {
		c.MaxMutatingRequestsInFlight = 200
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = time.Minute
	}
	if c.EventTTL == 0 {
		c.EventTTL = time.Hour
	}
	if c.Prefix == "" {
		c.Prefix = storage.DefaultPrefix
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}
