// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"k8s.io/component-base/featuregate"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/devicetainteviction"
	"k8s.io/kubernetes/pkg/controller/resourceclaim"
	"k8s.io/kubernetes/pkg/controller/resourcepoolstatusrequest"
	"k8s.io/kubernetes/pkg/controller/scheduling/podgroupprotection"
	"k8s.io/kubernetes/pkg/features"
)

// dra are the controllers of dynamic resource allocation and of pod groups.
var dra = []controller{
	{
		name: "resourceclaim-controller", aliases: []string{"resource-claim-controller"},
		gates:     []featuregate.Feature{features.DynamicResourceAllocation},
		reads:     []string{pods, resourceClaims, resourceClaimTemplates},
		readsWith: map[featuregate.Feature][]string{features.GenericWorkload: {podGroups}},
		build:     newResourceClaim,
	},
	{
		name:      "device-taint-eviction-controller",
		gates:     []featuregate.Feature{features.DynamicResourceAllocation, features.DRADeviceTaints},
		reads:     []string{pods, resourceClaims, resourceSlices, deviceClasses},
		readsWith: map[featuregate.Feature][]string{features.DRADeviceTaintRules: {deviceTaintRules}},
		build:     newDeviceTaintEviction,
	},
	{
		name:      "resourcepoolstatusrequest-controller",
		gates:     []featuregate.Feature{features.DRAResourcePoolStatus},
		reads:     []string{poolStatusRequests, resourceSlices, resourceClaims},
		readsWith: map[featuregate.Feature][]string{features.DRADeviceTaintRules: {deviceTaintRules}},
		build:     newResourcePoolStatusRequest,
	},
	{
		name:  "podgroup-protection-controller",
		gates: []featuregate.Feature{features.GenericWorkload},
		reads: []string{podGroups, pods},
		build: newPodGroupProtection,
	},
}

func newResourceClaim(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("resource-claim-controller")
	if err != nil {
		return nil, err
	}
	registerEmptyMetrics()
	c, err := resourceclaim.NewController(klog.FromContext(ctx),
		client, e.informers.Core().V1().Pods(), e.informers.Scheduling().V1beta1().PodGroups(),
		e.informers.Resource().V1().ResourceClaims(), e.informers.Resource().V1().ResourceClaimTemplates())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, int(e.settings.ResourceClaimController.ConcurrentSyncs)) }, nil
}

func newDeviceTaintEviction(_ context.Context, e *environment) (func(context.Context), error) {
	const name = "device-taint-eviction-controller"
	client, err := e.client(name)
	if err != nil {
		return nil, err
	}
	c := devicetainteviction.New(client,
		e.informers.Core().V1().Pods(), e.informers.Resource().V1().ResourceClaims(), e.informers.Resource().V1().ResourceSlices(),
		e.informers.Resource().V1().DeviceTaintRules(), e.informers.Resource().V1().DeviceClasses(), name)
	return func(ctx context.Context) {
		if err := c.Run(ctx, int(e.settings.DeviceTaintEvictionController.ConcurrentSyncs)); err != nil {
			klog.FromContext(ctx).Error(err, "Eviction of pods from tainted devices has stopped")
		}
		<-ctx.Done()
	}, nil
}

func newResourcePoolStatusRequest(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("resourcepoolstatusrequest-controller")
	if err != nil {
		return nil, err
	}
	c, err := resourcepoolstatusrequest.NewController(ctx, client,
		e.informers.Resource().V1alpha3().ResourcePoolStatusRequests(),
		e.informers.Resource().V1().ResourceSlices(), e.informers.Resource().V1().ResourceClaims(),
		e.informers.Resource().V1().DeviceTaintRules())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func newPodGroupProtection(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("podgroup-protection-controller")
	if err != nil {
		return nil, err
	}
	c, err := podgroupprotection.NewPodGroupProtectionController(klog.FromContext(ctx),
		e.informers.Scheduling().V1beta1().PodGroups(), e.informers.Core().V1().Pods(), client)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}
