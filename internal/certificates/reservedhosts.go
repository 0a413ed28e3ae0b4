// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// reservedHosts are the names and addresses that no serving certificate of a node may
// have.
type reservedHosts struct {
	local     bool
	names     []string
	addresses []netip.Addr
	// kubernetes are the addresses of the Service kubernetes, and services the address
	// ranges of all Services.
	kubernetes []netip.Addr
	services   []netip.Prefix
}

// reservedHosts reads the reserved names and addresses.
func (a *kubeletApprover) reservedHosts(ctx context.Context) (*reservedHosts, error) {
	r := &reservedHosts{local: a.Local, kubernetes: a.ServiceAddresses, services: slices.Clone(a.ServiceRanges)}
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

// checkName returns why node may not have dns in its certificate, or "".
func (r *reservedHosts) checkName(dns string, node *corev1.Node) string {
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
		return controlPlaneHost(fmt.Sprintf("DNS name %q", dns), node)
	}
	return ""
}

// checkIP returns why node may not have ip in its certificate, or "".
func (r *reservedHosts) checkIP(raw net.IP, node *corev1.Node) string {
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
	// If all nodes are on one machine, they share its loopback addresses.
	if r.local && ip.IsLoopback() {
		return ""
	}
	if slices.Contains(r.addresses, ip) {
		return controlPlaneHost(fmt.Sprintf("IP address %s", ip), node)
	}
	return ""
}

// controlPlaneHost returns the problem with a name or address of the control plane or of
// a webhook: the node could impersonate it for clients that trust the CA of kubelets.
func controlPlaneHost(what string, node *corev1.Node) string {
	if _, labelled := node.Labels[labelControlPlane]; labelled {
		return ""
	}
	return fmt.Sprintf("%s is the control plane's own; if node %s runs on the same machine, label it: kubectl label node %s %s=",
		what, node.Name, node.Name, labelControlPlane)
}

// isService reports whether dns can be the name of a Service in a cluster, for any
// cluster domain: NAME.NAMESPACE.svc or NAME.NAMESPACE.svc.DOMAIN, optionally with a port
// or an endpoint before it, or a short name of the API server.
func isService(dns string) bool {
	if dns == "kubernetes" || dns == "kubernetes.default" {
		return true
	}
	labels := strings.Split(dns, ".")
	return len(labels) > 2 && slices.Contains(labels[2:], "svc") || strings.HasSuffix(dns, ".svc")
}
