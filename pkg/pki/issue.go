package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
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

// nodeUserPrefix is what upstream's node identifier (not exported) looks for:
// k8s.io/kubernetes/pkg/auth/nodeidentifier.
const nodeUserPrefix = "system:node:"

// IssueClient makes a client certificate for username as a member of groups. It is
// not kept. A ttl of zero means one year; none outlives the CA. PKI cannot revoke it; a
// control plane that serves with it can, see controlplane.Server.RevokeKubeconfig.
func (p *PKI) IssueClient(username string, groups []string, ttl time.Duration) (KeyPair, error) {
	switch {
	case username == "":
		return KeyPair{}, errors.New("pki: issuing a client certificate: the user must not be empty")
	case slices.Contains(groups, ""):
		return KeyPair{}, fmt.Errorf("pki: issuing a client certificate for %q: a group must not be empty", username)
	case ttl < 0:
		return KeyPair{}, fmt.Errorf("pki: issuing a client certificate for %q: the ttl must not be negative, but is %s", username, ttl)
	case ttl == 0:
		ttl = leafLifetime
	}
	return p.cluster.issue(clientLeaf(username, groups), p.cfg.Clock.Now(), ttl)
}

// RenewClient returns kp while it is a client certificate for username as a member of
// groups and has more than a third of its life left, and otherwise a new one, of
// IssueClient.
func (p *PKI) RenewClient(kp KeyPair, username string, groups []string) (KeyPair, error) {
	if p.cluster.accepts(kp, clientLeaf(username, groups), p.cfg.Clock.Now()) {
		return kp, nil
	}
	return p.IssueClient(username, groups, 0)
}

// IssueNode makes the client certificate of a kubelet: user system:node:<name>,
// group system:nodes, which is what the node authorizer goes by. A ttl of zero
// means one year.
func (p *PKI) IssueNode(name string, ttl time.Duration) (KeyPair, error) {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return KeyPair{}, fmt.Errorf("pki: issuing a certificate for node %q: invalid name: %s", name, strings.Join(problems, "; "))
	}
	return p.IssueClient(nodeUserPrefix+name, []string{user.NodesGroup}, ttl)
}

// clientLeaf describes the certificate of a user: upstream reads the name from
// CN and the groups from O.
func clientLeaf(username string, groups []string) leaf {
	return leaf{
		subject: pkix.Name{CommonName: username, Organization: groups},
		usages:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// IssueNodeServing makes the serving certificate of the kubelet of node name, signed
// by KubeletServingCA, for hosts: the DNS names and IP addresses, without ports, that
// the node has registered, at least one. The API server calls a kubelet only if its
// certificate names the node. It is not kept. A ttl of zero means one year; none
// outlives the CA, and none can be revoked. Kubelets get theirs by themselves: it is
// for programs that stand in for a kubelet.
func (p *PKI) IssueNodeServing(name string, hosts []string, ttl time.Duration) (KeyPair, error) {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return KeyPair{}, fmt.Errorf("pki: issuing a serving certificate for node %q: invalid name: %s", name, strings.Join(problems, "; "))
	}
	l, ttl, err := servingLeaf(hosts, ttl)
	if err != nil {
		return KeyPair{}, err
	}
	l.subject = pkix.Name{CommonName: nodeUserPrefix + name, Organization: []string{user.NodesGroup}}
	return p.kubeletServing.issue(l, p.cfg.Clock.Now(), ttl)
}
