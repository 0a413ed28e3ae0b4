// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Config configures Open. Its zero value keeps all identities in memory, and its serving
// certificate has the loopback names.
type Config struct {
	// Dir is the directory that stores the identities between starts. If empty, they
	// are in memory only and nothing is written. Open creates a missing directory
	// with mode 0700 and files with mode 0600. An existing directory keeps its mode,
	// but a private key that others can read gets mode 0600. Open refuses a
	// directory, or a file in it, that another user of the machine owns or can write
	// to. Only one process at a time may use it: callers hold a lock.
	Dir string

	// Hosts are additional DNS names and IP addresses, without a port, of the API
	// server. The serving certificate always has localhost, 127.0.0.1, ::1, the
	// host name of the machine if it is a valid DNS name, and the in-cluster names:
	// kubernetes, kubernetes.default, kubernetes.default.svc and
	// kubernetes.default.svc.<ClusterDomain>.
	Hosts []string

	// ServiceIPs are the cluster IPs of the Service kubernetes/default, at which
	// pods connect to the API server. If empty, pods must use a name.
	ServiceIPs []net.IP

	// ClusterDomain is the DNS suffix of Services. If empty, "cluster.local".
	ClusterDomain string

	// Serving is an existing serving certificate, followed by its intermediate CAs.
	// It is served unchanged: no name is added and it is not renewed. Clients must
	// trust its issuer, which is not in CABundle. If empty, Open issues one from CA.
	Serving KeyPair

	// ClientCAs are PEM certificates of additional CAs for client authentication.
	// The API server accepts any user and groups that they certify. If empty, only
	// the CAs in CABundle are trusted.
	ClientCAs []byte

	// EtcdMember are the DNS names and IP addresses, without a port, of a member of
	// an etcd cluster. If set, Open issues the certificate of EtcdFiles, which needs
	// Dir. If empty, there is no such certificate.
	EtcdMember []string

	// Import is the result of Export of a server of the same cluster: its CAs and
	// service-account keys. Open writes them to Dir, or keeps them in memory without
	// Dir. Existing files in Dir stay. Each must have a certificate or key in common
	// with Import, otherwise Open fails. If empty, Open creates missing files.
	Import []byte

	// Clock provides the time for issuing and renewal. If nil, the machine's clock.
	Clock clock.PassiveClock
}

// Validate reports all problems of c in one error that names the fields. It reads no
// file.
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
		errs = append(errs, fieldpath.Detail(field.Required(field.NewPath("Dir"), ""), "%s is set, and etcd reads its certificates from files", fieldpath.Name("EtcdMember")))
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

// hostProblem returns why host is invalid in a serving certificate, or "".
func hostProblem(host string) string {
	if net.ParseIP(host) != nil {
		return ""
	}
	labels := strings.Split(host, ".")
	switch topLevel := labels[len(labels)-1]; {
	case strings.Contains(host, "*"):
		return "must not be a wildcard: name each host"
	case strings.ContainsAny(host, ":[]%/"):
		return "must be a DNS name or an IP address, without scheme, port, brackets or zone"
	case topLevel != "" && strings.Trim(topLevel, "0123456789") == "":
		// Clients parse a name that ends in a number as an address (RFC 1123, 2.1).
		return "must be a DNS name or an IP address, and is a mistyped address"
	}
	return strings.Join(validation.IsDNS1123Subdomain(strings.ToLower(host)), "; ")
}

// withDefaults returns a deep copy of c with its defaults.
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

// servingNames returns all names and addresses of the API server, without duplicates.
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
	// Without a valid host name, clients use the addresses.
	if hostname, err := os.Hostname(); err == nil && hostProblem(hostname) == "" {
		hosts = append(hosts, hostname)
	}
	names, ips = splitHosts(append(hosts, c.Hosts...))
	return sortNames(names, append(ips, c.ServiceIPs...))
}

// splitHosts separates DNS names from IP addresses.
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

// sortNames sorts names and ips and removes duplicates.
func sortNames(names []string, ips []net.IP) ([]string, []net.IP) {
	slices.Sort(names)
	names = slices.Compact(names)
	slices.SortFunc(ips, func(a, b net.IP) int { return slices.Compare(a.To16(), b.To16()) })
	ips = slices.CompactFunc(ips, net.IP.Equal)
	return names, ips
}
