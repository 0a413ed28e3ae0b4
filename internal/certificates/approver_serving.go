// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/controller/certificates"
)

const (
	// labelControlPlane marks a node on the machine of the control plane. Only an
	// operator can set it: NodeRestriction forbids it to kubelets.
	labelControlPlane = "node-role.kubernetes.io/control-plane"
	// registerTimeout bounds the wait of a request for a serving certificate for its
	// Node: a kubelet creates both at the same time.
	registerTimeout = time.Minute
)

// decideServing decides about a request for a serving certificate of the kubelet of node
// name. Addresses that other nodes have registered do not matter: otherwise a node could
// claim them to block renewals. It gains nothing from a certificate for them, because the
// API server verifies the name of the node.
func (a *kubeletApprover) decideServing(ctx context.Context, request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest, name string) (decision, error) {
	const reason = "NodeServingRequestDenied"
	node, err := a.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		// A new kubelet would pause for seconds after a denial. A retry approves the
		// request as soon as the Node exists. A longer wait does not help: the back-off
		// of this queue grows beyond that of the kubelet.
		if time.Since(request.CreationTimestamp.Time) < registerTimeout {
			return decision{}, upstream.IgnorableError("request %s: node %s does not exist yet", request.Name, name)
		}
		return denied(reason, fmt.Sprintf("node %s does not exist", name)), nil
	case err != nil:
		return decision{}, fmt.Errorf("certificates: request %s: node %s: %w", request.Name, name, err)
	}
	reserved, err := a.reservedHosts(ctx)
	if err != nil {
		return decision{}, fmt.Errorf("certificates: request %s: %w", request.Name, err)
	}

	var problems []string
	if err := validKubeletServing(parsed, request.Spec.Usages); err != nil {
		problems = append(problems, err.Error())
	}
	problems = append(problems, otherCommonName(request, parsed)...)
	for _, dns := range parsed.DNSNames {
		if problem := reserved.checkName(dns, node); problem != "" {
			problems = append(problems, problem)
		}
	}
	for _, ip := range parsed.IPAddresses {
		if problem := reserved.checkIP(ip, node); problem != "" {
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		return denied(reason, problems...), nil
	}
	return approved("NodeAddressesApproved", fmt.Sprintf("Serving certificate for the name and addresses of node %s.", name)), nil
}

func isName(address corev1.NodeAddress) bool {
	switch address.Type {
	case corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS:
		return true
	}
	return false
}

// hasIP reports whether node has registered ip. A kubelet whose host name is an address
// registers it as a host name and requests it as an address.
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
