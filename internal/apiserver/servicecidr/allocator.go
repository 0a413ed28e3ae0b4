// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"context"
	"fmt"
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
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Creator is the storage of Services, without the handlers of requests.
type Creator = rest.Creater //nolint:misspell // upstream's name

// allocatorTimeout is when WaitForAllocator concludes that the range is full.
const allocatorTimeout = time.Second

// WaitForAllocator returns when a Service would get a cluster IP, with dual-stack ranges
// one of each family. Upstream has no readiness check of its allocators. Until an
// allocator has its informers it has no addresses, as when the range is full.
// WaitForAllocator makes a dry run through the storage: a request would be written to the
// audit log and pass webhooks and policies of clients.
func WaitForAllocator(ctx context.Context, services Creator, families int, ranges networkinglisters.ServiceCIDRLister) error {
	if !hasReadyRange(ranges) {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, allocatorTimeout)
	defer cancel()
	limit = genericapirequest.WithNamespace(limit, metav1.NamespaceDefault)
	policy := corev1.IPFamilyPolicySingleStack
	if families > 1 {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	var createErr error
	err := lifecycle.Poll(limit, func() bool {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "kubembed-start-", Namespace: metav1.NamespaceDefault},
			Spec:       corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Port: 80}}},
		}
		legacyscheme.Scheme.Default(service)
		internal := &core.Service{}
		if createErr = legacyscheme.Scheme.Convert(service, internal, nil); createErr == nil {
			_, createErr = services.Create(limit, internal, rest.ValidateAllObjectFunc, &metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		}
		return ctx.Err() == nil && !withoutAddress(createErr)
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("apiserver: not ready: Services get no address: %w: %w", context.Cause(ctx), createErr)
	}
	return nil
}

// hasReadyRange reports whether the allocator may take addresses from a ServiceCIDR. An
// administrator may have deleted all of them, or marked them as not ready.
func hasReadyRange(ranges networkinglisters.ServiceCIDRLister) bool {
	all, err := ranges.List(labels.Everything())
	return err == nil && slices.ContainsFunc(all, func(cidr *networkingv1.ServiceCIDR) bool {
		return cidr.DeletionTimestamp == nil && meta.IsStatusConditionTrue(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	})
}

// withoutAddress reports whether err means that the allocator has no address. It compares
// texts: the storage does not wrap the allocator's errors.
func withoutAddress(err error) bool {
	return err != nil && (strings.Contains(err.Error(), ipallocator.ErrFull.Error()) ||
		strings.Contains(err.Error(), ipallocator.ErrNotReady.Error()))
}
