package apiserver

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
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

// serviceIPsTimeout is when waitServiceIPs believes that the range is full.
const serviceIPsTimeout = time.Second

// serviceCreator is the storage of a resource, without the handlers in front of it.
type serviceCreator = rest.Creater //nolint:misspell // upstream's name

// waitServiceIPs returns when a Service would get an address. Upstream's allocator is
// not among the readiness checks, and before it has its informers it has no address, as
// when the range is full. It is asked through the storage: a request would be in the
// audit log, and webhooks and policies of clients would have their say.
func (s *Server) waitServiceIPs(ctx context.Context) error {
	if s.generic.services == nil || !s.generic.allocatesServiceIPs() || !s.hasServiceRange() {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, serviceIPsTimeout)
	defer cancel()
	limit = genericapirequest.WithNamespace(limit, metav1.NamespaceDefault)
	var createErr error
	err := lifecycle.Poll(limit, func() bool {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "kubembed-start-", Namespace: metav1.NamespaceDefault},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}
		legacyscheme.Scheme.Default(service)
		internal := &core.Service{}
		if createErr = legacyscheme.Scheme.Convert(service, internal, nil); createErr == nil {
			_, createErr = s.generic.services.Create(limit, internal, rest.ValidateAllObjectFunc, &metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		}
		return ctx.Err() == nil && !withoutAddress(createErr)
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("apiserver: not ready: Services get no address: %w: %w", context.Cause(ctx), createErr)
	}
	return nil
}

// hasServiceRange reports whether there is a ServiceCIDR that the allocator takes
// addresses from. An administrator may have deleted all, or marked them as not ready.
func (s *Server) hasServiceRange() bool {
	ranges, err := s.generic.informers.Networking().V1().ServiceCIDRs().Lister().List(labels.Everything())
	return err == nil && slices.ContainsFunc(ranges, func(cidr *networkingv1.ServiceCIDR) bool {
		return cidr.DeletionTimestamp == nil && meta.IsStatusConditionTrue(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	})
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
