package controlplane

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// Config says what to start. Its zero value is a complete, private, ephemeral
// control plane on a free loopback port. Start copies it: changes after that
// have no effect.
type Config struct {
	// DataDir is the directory that the control plane keeps its state in: etcd's
	// data, certificates and keys. It is created with mode 0700 if it is
	// missing, and belongs to one running control plane at a time. Everything
	// that was acknowledged survives a crash or a power cut. It needs 284 MiB of
	// free space to begin with. It belongs to the user of the process, or root, and
	// neither group nor others may write to it: in a volume that others may, name a
	// subdirectory. If empty, the control plane is ephemeral: a directory kubembed-* in
	// os.TempDir, no fsync, removed at the end. The next start by the same user
	// removes the directory of a killed process.
	DataDir string

	// NewCluster confirms that a new cluster is wanted where DataDir has lost a part of
	// itself: its etcd data, a CA, or the service-account keys. Missing parts are made
	// again, empty or new; existing parts stay as they are, and the keys take over the
	// objects in etcd, also an external one, that were stored under other keys. Earlier
	// clients, nodes and tokens are no longer accepted. Set it for one start, never for good: it
	// takes away the protection against a disk that is not mounted. By default such a
	// start fails, with etcd.ErrDataMissing, pki.ErrKeysMissing or etcd.ErrOtherCluster.
	NewCluster bool

	// BindAddress is the IP address and port to serve HTTPS on. An address
	// that workers can reach lets them join; an empty host or 0.0.0.0 is every
	// IPv4 address of the machine and no IPv6 one, [::] is every address of both
	// families, localhost is 127.0.0.1. Port 0 is a free one. DataDir remembers it, so
	// that kubeconfigs outlive a restart: later starts use it too. If it is taken by
	// then, they log a warning and use another free one from then on. A DataDir that
	// Restore has made begins with a new one. If empty, "127.0.0.1:0".
	BindAddress string

	// AdvertiseAddress is the IP address under which workers reach the
	// control plane. It is in kubeconfigs, in the serving certificate and in
	// the endpoints of the kubernetes Service. If empty, the address of
	// BindAddress, or where that is every address, the one of the machine's
	// default route. Endpoints may not have loopback addresses: where BindAddress
	// is one and this is empty, they have the address of the machine, as
	// kube-apiserver's have, although nothing listens there.
	AdvertiseAddress string

	// Hosts are further DNS names and IP addresses that clients use for the
	// control plane: they are put in its serving certificate. Loopback, the
	// machine's name, BindAddress, AdvertiseAddress and the kubernetes Service
	// always are.
	Hosts []string

	// InsecureAddr is an IP address and port, like BindAddress, to serve plain HTTP on, where
	// everybody is an administrator: no TLS, no authentication, no
	// authorization. For demonstrations on a network that you trust. Web pages of
	// other origins are refused, and so is the proxy of pods, services and nodes to
	// browsers: a page of a pod would be an administrator too. If empty, off.
	InsecureAddr string

	// ServiceCIDR is the range of Service cluster IPs. If empty,
	// "10.0.0.0/24", upstream's default. It holds at least 8 addresses, and no
	// loopback, link-local, multicast, broadcast or unspecified ones; an IPv6 range is
	// /64 or smaller, and not IPv4-mapped. It must not change in the life of the
	// objects, in DataDir or in an external etcd: Start then fails, before anything is
	// changed.
	ServiceCIDR string

	// RuntimeConfig switches API groups, versions and resources on and off, in
	// the manner of kube-apiserver's --runtime-config: {"apps/v1": "false"}, or
	// {"api/all": "false", "v1": "true"} for little more than pods and nodes.
	// Services get cluster IPs only where networking.k8s.io/v1 is served, and
	// without rbac.authorization.k8s.io only nodes and system:masters may do
	// anything. v1, its secrets and its namespaces cannot be switched off. If empty, what kube-apiserver
	// serves by default.
	RuntimeConfig map[string]string

	// EnableAdmissionPlugins and DisableAdmissionPlugins change the set of
	// admission plugins: kube-apiserver's defaults and NodeRestriction, without
	// TaintNodesByCondition: the taint that it gives new nodes is taken away by the
	// node lifecycle controller (pkg/components/controllers) alone. With
	// DisableCoreControllers the ServiceAccount plugin is off unless it is enabled
	// here: it refuses pods in a namespace without a service account "default".
	// EventRateLimit and ImagePolicyWebhook, which need a file, cannot be enabled.
	EnableAdmissionPlugins, DisableAdmissionPlugins []string

	// MaxRequestsInFlight and MaxMutatingRequestsInFlight together are the
	// number of requests served at once, shared out by priority and fairness.
	// If zero, 400 and 200, upstream's defaults.
	MaxRequestsInFlight, MaxMutatingRequestsInFlight int

	// RequestTimeout bounds every request but watches and other long-running
	// ones. If zero, one minute.
	RequestTimeout time.Duration

	// EventTTL is how long events are kept. If zero, one hour.
	EventTTL time.Duration

	// KubeletInsecureTLS lets the control plane talk to kubelets that have made
	// their serving certificate themselves, as they do without
	// serverTLSBootstrap in their configuration. Whoever can answer at the
	// address of a node is then believed to be its kubelet, and sees what is
	// sent to it by kubectl exec, for example. By default a kubelet must show a
	// certificate of the control plane for its node, which it gets by asking for one.
	KubeletInsecureTLS bool

	// ClusterSigningDuration is how long certificates are valid that kubelets
	// and others get by a CertificateSigningRequest, like
	// kube-controller-manager's flag of that name. A request may ask for less.
	// Certificates are dated back by five minutes, so that kubelets renew those of
	// less than about two minutes all the time. If zero, one year.
	ClusterSigningDuration time.Duration

	// KubeletSigningDuration is the same for the certificates of kubelets that renew
	// them: all serving certificates, all renewals, and the first client certificate
	// of a kubelet with rotateCertificates. The first one of a kubelet without it is
	// valid for ClusterSigningDuration, since its node is lost when it ends. A kubelet
	// renews when 70 to 90 % of the time have passed; a machine that is off until its
	// certificate has expired has to join again, with a join file that is valid and
	// after its Node was deleted. It must not be longer than ClusterSigningDuration. If
	// zero, 30 days, or ClusterSigningDuration if that is shorter.
	KubeletSigningDuration time.Duration

	// Components run beside the API server, from before Start returns until the
	// control plane stops. Their names are different. If empty, none.
	Components []Component

	// DisableCoreControllers leaves out the controllers that every control plane
	// has: a deleted namespace stays Terminating, nothing that is owned is
	// collected, no namespace gets a service account, so that the ServiceAccount
	// plugin is off, and no certificate is signed, so that workers cannot join.
	// It is for hosts that run all of these themselves.
	DisableCoreControllers bool

	// Profiling serves /debug/pprof of the process to clients that RBAC authorizes for
	// it, by default group system:masters, as kube-apiserver does by default. Profiles
	// show the code and the goroutines of the whole program, and while a client takes a
	// CPU profile the program cannot. If false, it is not served.
	Profiling bool

	// Audit writes who did what to a file. If zero, off.
	Audit apiserver.Audit

	// Etcd says where and how the state is kept. If zero, in one etcd member in this
	// process, alone.
	Etcd Etcd

	// PKI are the authorities and keys of another control plane, from Server.PKI, for
	// one that shares its etcd or is of the same cluster: clients of one are then
	// clients of all. They are written to DataDir when that has none, and must not
	// contradict those that it has. If empty, DataDir's, or new ones.
	PKI []byte

	// Encryption is of what is stored. If zero, everything is stored in the clear.
	Encryption apiserver.Encryption

	// Snapshots are taken at intervals, and by Server.TakeSnapshot. If zero, none are
	// taken but by that.
	Snapshots Snapshots

	// SnapshotKey authenticates snapshots, those of Server and of Snapshots: each
	// ends with a MAC, by which Restore with the same RestoreConfig.Key knows that
	// nobody without the key has made or changed it. It is at least 32 random bytes, kept
	// where neither DataDir nor the snapshots are. If nil, snapshots have checksums only.
	SnapshotKey []byte

	// Logger takes what the control plane says, and what the Kubernetes code
	// in it writes through klog (see the package documentation). It is called in a
	// goroutine of its own, and holds up nothing: while it blocks, 4,096 lines or 8 MiB
	// wait for it and further lines are dropped. Shutdown, Close and a failed Start
	// wait until it has written the last line, and return an error if it takes
	// longer than two seconds for one. If nil, the control plane is silent.
	Logger *zap.Logger

	// clock is for tests of certificates. If nil, the machine's.
	clock clock.WithTicker
}

const (
	defaultBindAddress = "127.0.0.1:0"
	defaultServiceCIDR = "10.0.0.0/24"
	// defaultKubeletSigningDuration leaves a machine that is off at the worst time
	// three days.
	defaultKubeletSigningDuration = 30 * 24 * time.Hour
)

// clone returns a copy that shares nothing that the caller can change, with
// zeros filled in.
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

// Validate reports every problem at once, each with the field's name.
func (c Config) Validate() error {
	c = c.clone()
	var errs field.ErrorList
	bind, err := parseAddress("BindAddress", c.BindAddress)
	errs = append(errs, err...)
	if c.InsecureAddr != "" {
		insecure, err := parseAddress("InsecureAddr", c.InsecureAddr)
		errs = append(errs, err...)
		if insecure.Port() != 0 && insecure == bind {
			errs = append(errs, field.Invalid(field.NewPath("InsecureAddr"), c.InsecureAddr, "the same as BindAddress: choose another port"))
		}
	}
	if c.AdvertiseAddress != "" {
		if ip, err := netip.ParseAddr(c.AdvertiseAddress); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("AdvertiseAddress"), c.AdvertiseAddress, "must be an IP address without a port"))
		} else if plain := ip.Unmap(); plain.IsUnspecified() || plain.IsMulticast() || plain.Zone() != "" {
			errs = append(errs, field.Invalid(field.NewPath("AdvertiseAddress"), c.AdvertiseAddress, "must be an address that workers can connect to"))
		}
	}
	server := c.apiserver()
	if _, cidr, err := net.ParseCIDR(c.ServiceCIDR); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("ServiceCIDR"), c.ServiceCIDR, `must be an IP range like "10.0.0.0/24"`))
	} else {
		server.ServiceCIDR = cidr
	}
	if c.AdvertiseAddress != "" {
		if ip, err := netip.ParseAddr(c.AdvertiseAddress); err == nil && ip.Unmap().IsLinkLocalUnicast() && ip.Zone() == "" {
			server.AdvertiseAddress = ip.AsSlice()
		}
	} else if ip := bind.Addr().Unmap(); ip.IsLinkLocalUnicast() && ip.Zone() == "" {
		server.AdvertiseAddress = ip.AsSlice()
	}
	errs = append(errs, access.ValidateOptional(server)...)
	if c.ClusterSigningDuration < 0 {
		errs = append(errs, field.Invalid(field.NewPath("ClusterSigningDuration"), c.ClusterSigningDuration.String(), "must not be negative; zero is one year"))
	}
	switch path, value := field.NewPath("KubeletSigningDuration"), c.KubeletSigningDuration; {
	case c.ClusterSigningDuration < 0:
	case value < 0:
		errs = append(errs, field.Invalid(path, value.String(), "must not be negative; zero is 30 days, or ClusterSigningDuration if that is shorter"))
	case value > c.ClusterSigningDuration:
		errs = append(errs, field.Invalid(path, value.String(), fmt.Sprintf("must not be longer than ClusterSigningDuration, which is %s", c.ClusterSigningDuration)))
	}
	errs = append(errs, c.validateComponents()...)
	errs = append(errs, c.validatePKI(field.NewPath("PKI"))...)
	errs = append(errs, c.Etcd.validate(field.NewPath("Etcd"))...)
	if c.Etcd.Name != "" && c.DataDir == "" {
		errs = append(errs, field.Required(field.NewPath("DataDir"), "a member of a cluster (Etcd.Name) must keep what it has acknowledged"))
	}
	errs = append(errs, c.Snapshots.validate(field.NewPath("Snapshots"), c.DataDir)...)
	errs = append(errs, validateSnapshotKey(field.NewPath("SnapshotKey"), c.SnapshotKey)...)
	for i, host := range c.Hosts {
		if err := (pki.Config{Hosts: []string{host}}).Validate(); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("Hosts").Index(i), host, "must be a DNS name or an IP address"))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("controlplane: invalid Config: %w", errs.ToAggregate())
	}
	return nil
}

// parseAddress accepts IP:port, :port and localhost:port.
func parseAddress(name, value string) (netip.AddrPort, field.ErrorList) {
	invalid := func(detail string) (netip.AddrPort, field.ErrorList) {
		return netip.AddrPort{}, field.ErrorList{field.Invalid(field.NewPath(name), value, detail)}
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return invalid(`must be an IP address and a port, like "127.0.0.1:6443"`)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return invalid("the port must be a number from 0 to 65535")
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Unmap().IsMulticast() {
		return invalid("the host must be an IP address of this machine")
	}
	// ::ffff:0.0.0.0 names every IPv4 address, and the system would take it for ::.
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), nil
}

// apiserver is the part of the configuration that is the API server's.
func (c Config) apiserver() apiserver.Config {
	return apiserver.Config{
		RuntimeConfig:               c.RuntimeConfig,
		EnableAdmissionPlugins:      c.EnableAdmissionPlugins,
		DisableAdmissionPlugins:     c.DisableAdmissionPlugins,
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
