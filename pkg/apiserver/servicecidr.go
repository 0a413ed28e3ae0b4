package apiserver

import (
	"net"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"
)

// serviceCIDRHook is upstream's name for the start of the controller that
// keeps the default ServiceCIDR.
const serviceCIDRHook = "start-kubernetes-service-cidr-controller"

// defaultServiceCIDRObject is the range that Service cluster IPs come from.
func defaultServiceCIDRObject(cidr *net.IPNet) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "ServiceCIDR"},
		ObjectMeta: metav1.ObjectMeta{Name: defaultservicecidr.DefaultServiceCIDRName},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{cidr.String()}},
	}
}

// runServiceCIDR keeps the default ServiceCIDR as upstream's hook does.
func (s *Server) runServiceCIDR() {
	if !s.generic.server.MergedResourceConfig.ResourceEnabled(networkingv1.SchemeGroupVersion.WithResource("servicecidrs")) {
		return
	}
	controller := defaultservicecidr.NewController(*s.config.ServiceCIDR, net.IPNet{}, s.generic.client)
	controller.Start(s.ctx)
}
