// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// IssueServing issues a serving certificate for hosts: at least one DNS name or IP
// address, without ports. Clients that trust CA accept it for each of the hosts.
// Webhooks and aggregated API servers in the host process need one, for example. It is
// not stored. A ttl of zero means one year. The certificate never outlives the CA and
// cannot be revoked.
func (p *PKI) IssueServing(hosts []string, ttl time.Duration) (KeyPair, error) {
	l, ttl, err := servingLeaf(hosts, ttl)
	if err != nil {
		return KeyPair{}, err
	}
	// The common name is informative: clients verify the names and addresses only. A
	// longer one is invalid (RFC 5280, ub-common-name).
	if len(hosts[0]) <= 64 {
		l.subject = pkix.Name{CommonName: hosts[0]}
	}
	return p.cluster.issue(l, p.cfg.Clock.Now(), ttl)
}

// servingLeaf returns the leaf of a server at hosts, without a subject, and its
// lifetime.
func servingLeaf(hosts []string, ttl time.Duration) (leaf, time.Duration, error) {
	l := leaf{usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	switch {
	case len(hosts) == 0:
		return l, 0, errors.New("pki: issuing a serving certificate: at least one host is required")
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

// nodeUserPrefix is the prefix of node users. Upstream does not export it:
// k8s.io/kubernetes/pkg/auth/nodeidentifier.
const nodeUserPrefix = "system:node:"

// IssueClient issues a client certificate for username as a member of groups. It is not
// stored. A ttl of zero means one year. The certificate never outlives the CA. To revoke
// it, see controlplane.Server.RevokeKubeconfig.
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

// RenewClient returns kp if it is a client certificate for username as a member of
// groups with more than a third of its lifetime left. Otherwise it issues a new one, as
// IssueClient does.
func (p *PKI) RenewClient(kp KeyPair, username string, groups []string) (KeyPair, error) {
	if p.cluster.accepts(kp, clientLeaf(username, groups), p.cfg.Clock.Now()) {
		return kp, nil
	}
	return p.IssueClient(username, groups, 0)
}

// IssueNode issues the client certificate of a kubelet: user system:node:<name>, group
// system:nodes, as the node authorizer requires. A ttl of zero means one year.
func (p *PKI) IssueNode(name string, ttl time.Duration) (KeyPair, error) {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return KeyPair{}, fmt.Errorf("pki: issuing a certificate for node %q: invalid name: %s", name, strings.Join(problems, "; "))
	}
	return p.IssueClient(nodeUserPrefix+name, []string{user.NodesGroup}, ttl)
}

// clientLeaf returns the leaf of a user. Upstream reads the user name from CN and the
// groups from O.
func clientLeaf(username string, groups []string) leaf {
	return leaf{
		subject: pkix.Name{CommonName: username, Organization: groups},
		usages:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// IssueNodeServing issues a kubelet serving certificate for node name, signed by
// KubeletServingCA. The hosts are the registered DNS names and IP addresses of the node,
// without ports, at least one. The API server connects to a kubelet only if its
// certificate names the node. The certificate is not stored. A ttl of zero means one
// year. The certificate never outlives the CA and cannot be revoked. It is for programs
// in place of a kubelet: kubelets request theirs themselves.
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
