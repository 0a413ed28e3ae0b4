package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	upstream "k8s.io/kubernetes/pkg/controller/certificates"

	"github.com/kubembed/kubembed/internal/nodeaddress"
)

const (
	// labelControlPlane is how an operator says that a node is on the machine of
	// the control plane. Kubelets cannot set it: NodeRestriction.
	labelControlPlane = "node-role.kubernetes.io/control-plane"
	// registerTimeout is how long a request for a serving certificate waits for
	// its Node: a kubelet asks for both at the same time.
	registerTimeout = time.Minute
)

// judgeServing judges a request for the certificate that the kubelet of node
// name serves with.
func (a *kubeletApprover) judgeServing(ctx context.Context, request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest, name string) (verdict, error) {
	const reason = "NodeServingRequestDenied"
	node, err := a.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		// Denied at once, a kubelet that has just started would pause for seconds;
		// tried again, its request is approved when the Node is there. Waiting longer
		// would not help: this queue pauses longer and longer, the kubelet does not.
		if time.Since(request.CreationTimestamp.Time) < registerTimeout {
			return verdict{}, upstream.IgnorableError("request %s: node %s does not exist yet", request.Name, name)
		}
		return denied(reason, fmt.Sprintf("node %s does not exist", name)), nil
	case err != nil:
		return verdict{}, fmt.Errorf("certificates: request %s: node %s: %w", request.Name, name, err)
	}
	others, err := a.Nodes.List(labels.Everything())
	if err != nil {
		return verdict{}, fmt.Errorf("certificates: request %s: nodes: %w", request.Name, err)
	}
	others = slices.DeleteFunc(slices.Clone(others), func(n *corev1.Node) bool { return n.Name == name })

	var problems []string
	if err := validKubeletServing(parsed, request.Spec.Usages); err != nil {
		problems = append(problems, err.Error())
	}
	problems = append(problems, otherCommonName(request, parsed)...)
	for _, dns := range parsed.DNSNames {
		if problem := a.checkName(dns, node, others); problem != "" {
			problems = append(problems, problem)
		}
	}
	var servers []netip.Addr
	if a.Servers != nil {
		if servers, err = a.Servers(ctx); err != nil {
			return verdict{}, fmt.Errorf("certificates: request %s: API servers: %w", request.Name, err)
		}
	}
	for _, ip := range parsed.IPAddresses {
		if problem := a.checkIP(ip, node, others, servers); problem != "" {
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		return denied(reason, problems...), nil
	}
	return approved("NodeAddressesApproved", fmt.Sprintf("Serving certificate for the name and addresses of node %s.", name)), nil
}

// checkName says why node may not have dns in its certificate, or nothing.
func (a *kubeletApprover) checkName(dns string, node *corev1.Node, others []*corev1.Node) string {
	if len(validation.IsDNS1123Subdomain(dns)) > 0 || net.ParseIP(dns) != nil {
		return fmt.Sprintf("%.100q is not a DNS name in lower case, without wildcards", dns)
	}
	if dns != node.Name && !slices.ContainsFunc(node.Status.Addresses, func(address corev1.NodeAddress) bool {
		return isName(address) && address.Address == dns
	}) {
		return fmt.Sprintf("DNS name %q is neither the name of node %s nor one of its registered addresses", dns, node.Name)
	}
	if isService(dns) {
		return fmt.Sprintf("DNS name %q is that of a Service", dns)
	}
	for _, other := range others {
		if dns == other.Name || slices.ContainsFunc(other.Status.Addresses, func(address corev1.NodeAddress) bool {
			return isName(address) && strings.EqualFold(address.Address, dns)
		}) {
			return fmt.Sprintf("DNS name %q is that of node %s", dns, other.Name)
		}
	}
	switch {
	case a.Local:
		return ""
	case dns == "localhost" || strings.HasSuffix(dns, ".localhost"):
		return fmt.Sprintf("DNS name %q is loopback: here it is the control plane, not the node", dns)
	case slices.Contains(a.OwnNames, dns):
		return own(fmt.Sprintf("DNS name %q", dns), node)
	}
	return ""
}

// checkIP says why node may not have ip in its certificate, or nothing.
func (a *kubeletApprover) checkIP(raw net.IP, node *corev1.Node, others []*corev1.Node, servers []netip.Addr) string {
	ip, _ := netip.AddrFromSlice(raw)
	ip = ip.Unmap()
	if !hasIP(node, ip) {
		return fmt.Sprintf("IP address %s is not a registered address of node %s", ip, node.Name)
	}
	if err := nodeaddress.CheckKubelet(ip, a.Local); err != nil {
		return "IP address " + err.Error()
	}
	if slices.Contains(a.ServiceAddresses, ip) {
		return fmt.Sprintf("IP address %s is that of the Service kubernetes", ip)
	}
	// Nodes that are all on one machine share its addresses.
	if a.Local {
		return ""
	}
	for _, other := range others {
		if hasIP(other, ip) || other.Name == ip.String() {
			return fmt.Sprintf("IP address %s is that of node %s", ip, other.Name)
		}
	}
	if slices.Contains(a.OwnAddresses, ip) || slices.Contains(servers, ip) {
		return own(fmt.Sprintf("IP address %s", ip), node)
	}
	return ""
}

// own is the problem with what the control plane itself is called: a
// certificate for it would let the node pass for the API server.
func own(what string, node *corev1.Node) string {
	if _, labelled := node.Labels[labelControlPlane]; labelled {
		return ""
	}
	return fmt.Sprintf("%s is the control plane's own; if node %s runs on the same machine, say so: kubectl label node %s %s=",
		what, node.Name, node.Name, labelControlPlane)
}

// isService tells names that Services are called by within a cluster, those of
// the API server among them.
func isService(dns string) bool {
	return dns == "kubernetes" || dns == "kubernetes.default" ||
		strings.HasSuffix(dns, ".svc") || strings.HasSuffix(dns, ".svc.cluster.local")
}

func isName(address corev1.NodeAddress) bool {
	switch address.Type {
	case corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS:
		return true
	}
	return false
}

// hasIP tells whether node has registered ip. A kubelet whose host name is an
// address registers it as one and asks for it as the other.
func hasIP(node *corev1.Node, ip netip.Addr) bool {
	return slices.ContainsFunc(node.Status.Addresses, func(address corev1.NodeAddress) bool {
		switch address.Type {
		case corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName:
			registered, err := netip.ParseAddr(address.Address)
			return err == nil && registered.Unmap() == ip
		}
		return false
	})
}
