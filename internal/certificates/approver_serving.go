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
	// labelControlPlane is how an operator says that a node is on the machine of
	// the control plane. Kubelets cannot set it: NodeRestriction.
	labelControlPlane = "node-role.kubernetes.io/control-plane"
	// registerTimeout is how long a request for a serving certificate waits for
	// its Node: a kubelet asks for both at the same time.
	registerTimeout = time.Minute
)

// judgeServing judges a request for the certificate that the kubelet of node
// name serves with. What other nodes have registered does not matter: a node that
// claims the addresses of others would keep them from renewing their certificates, and
// gets nothing by it, as the API server goes by the name of the node.
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
	own, err := a.controlPlane(ctx)
	if err != nil {
		return verdict{}, fmt.Errorf("certificates: request %s: %w", request.Name, err)
	}

	var problems []string
	if err := validKubeletServing(parsed, request.Spec.Usages); err != nil {
		problems = append(problems, err.Error())
	}
	problems = append(problems, otherCommonName(request, parsed)...)
	for _, dns := range parsed.DNSNames {
		if problem := own.checkName(dns, node); problem != "" {
			problems = append(problems, problem)
		}
	}
	for _, ip := range parsed.IPAddresses {
		if problem := own.checkIP(ip, node); problem != "" {
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
