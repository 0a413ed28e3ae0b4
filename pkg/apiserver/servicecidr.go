package apiserver

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// defaultServiceCIDRObject is the range that Service cluster IPs come from.
func defaultServiceCIDRObject(cidr *net.IPNet) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "ServiceCIDR"},
		ObjectMeta: metav1.ObjectMeta{Name: defaultservicecidr.DefaultServiceCIDRName},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{cidr.String()}},
	}
}

// markReady does to the default ServiceCIDR what upstream's controller does once
// it is there. Strategies drop the status of what is created.
func markReady(cidr *networking.ServiceCIDR) {
	meta.SetStatusCondition(&cidr.Status.Conditions, metav1.Condition{
		Type:    networkingv1.ServiceCIDRConditionReady,
		Status:  metav1.ConditionTrue,
		Message: "Kubernetes default Service CIDR is ready",
	})
}

// allocatesServiceIPs tells whether Services get cluster IPs.
func (g *generic) allocatesServiceIPs() bool {
	enabled := g.server.MergedResourceConfig
	return enabled.ResourceEnabled(corev1.SchemeGroupVersion.WithResource("services")) &&
		enabled.ResourceEnabled(networkingv1.SchemeGroupVersion.WithResource("servicecidrs")) &&
		enabled.ResourceEnabled(networkingv1.SchemeGroupVersion.WithResource("ipaddresses"))
}

// serviceIPsTimeout is when waitServiceIPs believes that the range is full, or
// that a webhook of the host's does not answer.
const serviceIPsTimeout = time.Second

// waitServiceIPs returns when a Service would get an address. Upstream's
// allocator is not among the readiness checks: it looks for its informers every
// 100 ms, and until then has no address, as when the range is full.
func (s *Server) waitServiceIPs(ctx context.Context) error {
	if !s.generic.allocatesServiceIPs() {
		return nil
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "kubembed-start-"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	limit, cancel := context.WithTimeout(ctx, serviceIPsTimeout)
	defer cancel()
	var createErr error
	err := lifecycle.Poll(limit, func() bool {
		_, createErr = s.generic.client.CoreV1().Services(metav1.NamespaceDefault).Create(limit, service,
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		// Other errors are of the host's own policies and webhooks.
		return ctx.Err() == nil && !withoutAddress(createErr)
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("apiserver: not ready: Services get no address: %w: %w", context.Cause(ctx), createErr)
	}
	return nil
}

// withoutAddress knows the allocator's errors by their texts, which are all that
// a client gets of them.
func withoutAddress(err error) bool {
	return err != nil && (strings.Contains(err.Error(), ipallocator.ErrFull.Error()) ||
		strings.Contains(err.Error(), ipallocator.ErrNotReady.Error()))
}

// runServiceCIDR keeps the default ServiceCIDR as upstream's hook does.
func (s *Server) runServiceCIDR() {
	if !s.generic.server.MergedResourceConfig.ResourceEnabled(networkingv1.SchemeGroupVersion.WithResource("servicecidrs")) {
		return
	}
	controller := defaultservicecidr.NewController(*s.config.ServiceCIDR, net.IPNet{}, s.generic.client)
	controller.Start(s.ctx)
}
