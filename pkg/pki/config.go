package pki

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
)

// Config says where the identities are kept and what the API server is called.
// Its zero value keeps everything in memory and serves the loopback names.
type Config struct {
	// Dir is the directory that keeps the identities from one start to the next.
	// If empty, they live in memory only and nothing is written. A missing
	// directory is made with mode 0700, files in it with mode 0600. An existing
	// directory keeps its mode, but private keys in it that others may read are
	// made private. One that another user of the machine owns or may write to is
	// refused, and so is a file in it. One process at a time: callers hold a lock.
	Dir string

	// Hosts are further DNS names and IP addresses, without a port, by which
	// clients reach the API server. The serving certificate always has
	// localhost, 127.0.0.1, ::1, the machine's host name when it is a valid DNS
	// name, and the in-cluster names: kubernetes, kubernetes.default,
	// kubernetes.default.svc and kubernetes.default.svc.<ClusterDomain>.
	Hosts []string

	// ServiceIPs are the cluster IPs of the Service kubernetes/default, by
	// which pods reach the API server. If empty, pods must use a name.
	ServiceIPs []net.IP

	// ClusterDomain is the DNS suffix of Services. If empty, "cluster.local".
	ClusterDomain string

	// Serving is a serving certificate that was made elsewhere, with those of its
	// issuers after it. It is served as it is: no name is added to it, it is not
	// renewed, and clients must know its issuer, which CABundle does not tell. If
	// empty, Open makes one that CA signs.
	Serving KeyPair

	// ClientCAs are PEM certificates of further authorities whose clients the API
	// server trusts: whatever user and groups a certificate of theirs names. If
	// empty, only those in CABundle are trusted.
	ClientCAs []byte

	// EtcdMember are the DNS names and IP addresses, without a port, of an etcd member
	// that is one of a cluster. With them Open makes EtcdFiles, which need Dir. If
	// empty, there is no such certificate.
	EtcdMember []string

	// Import is what Export has returned, there or in another process: the
	// authorities and keys that all servers of one cluster have in common. Open
	// writes them to Dir, where there are none, or keeps them in memory without Dir.
	// Where Dir has some, those stay, and must have a certificate or key in common
	// with these, each, else Open fails. If empty, Open makes what is missing.
	Import []byte

	// Clock tells when certificates begin, end and are due for renewal. If nil,
	// the machine's clock.
	Clock clock.PassiveClock
}

// Validate reports all problems of c at once, in an error that names the fields.
// It looks at no file.
func (c Config) Validate() error {
	var errs field.ErrorList
	for i, host := range c.Hosts {
		if problem := hostProblem(host); problem != "" {
			errs = append(errs, field.Invalid(field.NewPath("Hosts").Index(i), host, problem))
		}
	}
	for i, ip := range c.ServiceIPs {
		if ip.To16() == nil || ip.IsUnspecified() {
			errs = append(errs, field.Invalid(field.NewPath("ServiceIPs").Index(i), ip.String(), "must be the IP address of a Service"))
		}
	}
	if c.ClusterDomain != "" {
		for _, problem := range validation.IsDNS1123Subdomain(c.ClusterDomain) {
			errs = append(errs, field.Invalid(field.NewPath("ClusterDomain"), c.ClusterDomain, problem))
		}
	}
	if c.Serving.Cert != nil || c.Serving.Key != nil {
		if _, err := tls.X509KeyPair(c.Serving.Cert, c.Serving.Key); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("Serving"), field.OmitValueType{}, err.Error()))
		}
	}
	if len(c.ClientCAs) > 0 {
		if _, err := parseCerts(c.ClientCAs); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("ClientCAs"), field.OmitValueType{}, err.Error()))
		}
	}
	for i, host := range c.EtcdMember {
		if problem := hostProblem(host); problem != "" {
			errs = append(errs, field.Invalid(field.NewPath("EtcdMember").Index(i), host, problem))
		}
	}
	if len(c.EtcdMember) > 0 && c.Dir == "" {
		errs = append(errs, field.Required(field.NewPath("Dir"), "EtcdMember is set, and etcd takes its certificates from files"))
	}
	if len(c.Import) > 0 {
		if _, err := parseBundle(c.Import); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("Import"), field.OmitValueType{}, err.Error()))
		}
	}
	if err := errs.ToAggregate(); err != nil {
		return fmt.Errorf("pki: invalid Config: %w", err)
	}
	return nil
}

// hostProblem returns why host cannot stand in a serving certificate, or "".
func hostProblem(host string) string {
	if net.ParseIP(host) != nil {
		return ""
	}
	labels := strings.Split(host, ".")
	switch last := labels[len(labels)-1]; {
	case strings.Contains(host, "*"):
		return "must not be a wildcard: name each host"
	case strings.ContainsAny(host, ":[]%/"):
		return "must be a DNS name or an IP address, without scheme, port, brackets or zone"
	case last != "" && strings.Trim(last, "0123456789") == "":
		// Clients take a name that ends in a number for an address (RFC 1123, 2.1).
		return "must be a DNS name or an IP address, and is a mistyped address"
	}
	return strings.Join(validation.IsDNS1123Subdomain(strings.ToLower(host)), "; ")
}

// withDefaults returns a copy of c that shares nothing with the caller.
func (c Config) withDefaults() Config {
	c.Hosts = slices.Clone(c.Hosts)
	c.ServiceIPs = slices.Clone(c.ServiceIPs)
	for i, ip := range c.ServiceIPs {
		c.ServiceIPs[i] = slices.Clone(ip)
	}
	c.Serving = KeyPair{Cert: slices.Clone(c.Serving.Cert), Key: slices.Clone(c.Serving.Key)}
	c.ClientCAs = slices.Clone(c.ClientCAs)
	c.EtcdMember = slices.Clone(c.EtcdMember)
	c.Import = slices.Clone(c.Import)
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	return c
}

// servingNames returns every name and address of the API server, each once.
func (c Config) servingNames() (names []string, ips []net.IP) {
	hosts := []string{
		"localhost",
		"kubernetes",
		"kubernetes.default",
		"kubernetes.default.svc",
		"kubernetes.default.svc." + c.ClusterDomain,
		"127.0.0.1",
		"::1",
	}
	// A machine without a usable name is served by its addresses.
	if hostname, err := os.Hostname(); err == nil && hostProblem(hostname) == "" {
		hosts = append(hosts, hostname)
	}
	names, ips = splitHosts(append(hosts, c.Hosts...))
	return sortNames(names, append(ips, c.ServiceIPs...))
}

// splitHosts tells names from addresses.
func splitHosts(hosts []string) (names []string, ips []net.IP) {
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, strings.ToLower(host))
		}
	}
	return names, ips
}

// sortNames leaves each once.
func sortNames(names []string, ips []net.IP) ([]string, []net.IP) {
	slices.Sort(names)
	names = slices.Compact(names)
	slices.SortFunc(ips, func(a, b net.IP) int { return slices.Compare(a.To16(), b.To16()) })
	ips = slices.CompactFunc(ips, net.IP.Equal)
	return names, ips
}
