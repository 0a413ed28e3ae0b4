package certificates

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubembed/kubembed/internal/nodeaddress"
)

// reserved holds the names and addresses that no node gets a serving certificate for.
type reserved struct {
	local     bool
	names     []string
	addresses []netip.Addr
	// kubernetes are the addresses of the Service kubernetes, and services the ranges
	// of all Services.
	kubernetes []netip.Addr
	services   []netip.Prefix
}

// controlPlane reads the reserved names and addresses.
func (a *kubeletApprover) controlPlane(ctx context.Context) (*reserved, error) {
	r := &reserved{local: a.Local, kubernetes: a.ServiceAddresses, services: []netip.Prefix{a.ServiceRange}}
	var err error
	if r.names, r.addresses, err = a.Reserved(ctx); err != nil {
		return nil, err
	}
	if !a.Serves(networkingv1.SchemeGroupVersion.WithResource("servicecidrs")) {
		return r, nil
	}
	all, err := a.client.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("ranges of Services: %w", err)
	}
	for i := range all.Items {
		for _, cidr := range all.Items[i].Spec.CIDRs {
			if prefix, err := netip.ParsePrefix(cidr); err == nil {
				r.services = append(r.services, prefix)
			}
		}
	}
	return r, nil
}

// checkName says why node may not have dns in its certificate, or nothing.
func (r *reserved) checkName(dns string, node *corev1.Node) string {
	if len(validation.IsDNS1123Subdomain(dns)) > 0 || net.ParseIP(dns) != nil {
		return fmt.Sprintf("%.100q is not a DNS name in lower case, without wildcards", dns)
	}
	if dns != node.Name && !slices.ContainsFunc(node.Status.Addresses, func(address corev1.NodeAddress) bool {
		return isName(address) && address.Address == dns
	}) {
		return fmt.Sprintf("DNS name %q is neither the name of node %s nor one of its registered addresses", dns, node.Name)
	}
	loopback := dns == "localhost" || strings.HasSuffix(dns, ".localhost")
	switch {
	case isService(dns):
		return fmt.Sprintf("DNS name %q is that of a Service", dns)
	case loopback && !r.local:
		return fmt.Sprintf("DNS name %q is loopback: here it is the control plane, not the node", dns)
	case loopback || slices.Contains(r.names, dns):
		return own(fmt.Sprintf("DNS name %q", dns), node)
	}
	return ""
}

// checkIP says why node may not have ip in its certificate, or nothing.
func (r *reserved) checkIP(raw net.IP, node *corev1.Node) string {
	ip, _ := netip.AddrFromSlice(raw)
	ip = ip.Unmap()
	if !hasIP(node, ip) {
		return fmt.Sprintf("IP address %s is not a registered address of node %s", ip, node.Name)
	}
	if err := nodeaddress.CheckKubelet(ip, r.local); err != nil {
		return "IP address " + err.Error()
	}
	ip = nodeaddress.Canonical(ip)
	if slices.Contains(r.kubernetes, ip) {
		return fmt.Sprintf("IP address %s is that of the Service kubernetes", ip)
	}
	for _, prefix := range r.services {
		if prefix.Contains(ip) {
			return fmt.Sprintf("IP address %s is in %s, the range of Services: machines must have others (Config.ServiceCIDR)", ip, prefix)
		}
	}
	// Nodes that are all on one machine share its loopback addresses.
	if r.local && ip.IsLoopback() {
		return ""
	}
	if slices.Contains(r.addresses, ip) {
		return own(fmt.Sprintf("IP address %s", ip), node)
	}
	return ""
}

// own is the problem with a name or address of the control plane or of a webhook: with
// clients that trust the kubelets' CA, the node could pass for it.
func own(what string, node *corev1.Node) string {
	if _, labelled := node.Labels[labelControlPlane]; labelled {
		return ""
	}
	return fmt.Sprintf("%s is the control plane's own; if node %s runs on the same machine, say so: kubectl label node %s %s=",
		what, node.Name, node.Name, labelControlPlane)
}

// isService reports whether a Service may have the name within a cluster, whatever
// the cluster's domain is: NAME.NAMESPACE.svc or NAME.NAMESPACE.svc.DOMAIN, also
// behind the name of a port or an endpoint, or the short names of the API server.
func isService(dns string) bool {
	if dns == "kubernetes" || dns == "kubernetes.default" {
		return true
	}
	labels := strings.Split(dns, ".")
	return len(labels) > 2 && slices.Contains(labels[2:], "svc") || strings.HasSuffix(dns, ".svc")
}
