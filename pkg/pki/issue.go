package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// IssueServing makes a serving certificate for hosts, which are DNS names and IP
// addresses without ports, at least one. Whoever trusts CA takes its holder for
// any of them: webhooks and aggregated API servers that the host of a control
// plane runs itself need one, for example. It is not kept. A ttl of zero means
// one year; none outlives the CA, and none can be revoked.
func (p *PKI) IssueServing(hosts []string, ttl time.Duration) (KeyPair, error) {
	l, ttl, err := servingLeaf(hosts, ttl)
	if err != nil {
		return KeyPair{}, err
	}
	// For people: clients look at the names and addresses alone. A longer common name
	// is none (RFC 5280, ub-common-name).
	if len(hosts[0]) <= 64 {
		l.subject = pkix.Name{CommonName: hosts[0]}
	}
	return p.cluster.issue(l, p.cfg.Clock.Now(), ttl)
}

// servingLeaf describes the certificate of a server at hosts, which is nobody yet, and
// says how long it lasts.
func servingLeaf(hosts []string, ttl time.Duration) (leaf, time.Duration, error) {
	l := leaf{usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	switch {
	case len(hosts) == 0:
		return l, 0, errors.New("pki: issuing a serving certificate: there must be a host")
	case ttl < 0:
		return l, 0, fmt.Errorf("pki: issuing a serving certificate for %q: the ttl must not be negative, but is %s", hosts, ttl)
	case ttl == 0:
		ttl = leafLifetime
	}
	for _, host := range hosts {
		if problem := hostProblem(host); problem != "" {
			return l, 0, fmt.Errorf("pki: issuing a serving certificate for %q: %s", host, problem)
		}
		if ip := net.ParseIP(host); ip != nil {
			l.ips = append(l.ips, ip)
		} else {
			l.names = append(l.names, strings.ToLower(host))
		}
	}
	return l, ttl, nil
}
