// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/scale"
	"k8s.io/kubernetes/pkg/controller/disruption"
	"k8s.io/kubernetes/pkg/controller/endpoint"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
	resourceclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/custom_metrics"
	"k8s.io/metrics/pkg/client/external_metrics"
)

// services are the controllers of endpoints, disruption budgets and autoscaling.
var services = []controller{
	{
		name: "endpoints-controller", aliases: []string{"endpoint"}, set: Workloads,
		reads: []string{pods, servicesResource, endpoints},
		build: newEndpoints,
	},
	{
		name: "endpointslice-controller", aliases: []string{"endpointslice"}, set: Workloads,
		reads: []string{pods, servicesResource, nodesResource, endpointSlices},
		build: newEndpointSlice,
	},
	{
		name: "endpointslice-mirroring-controller", aliases: []string{"endpointslicemirroring"}, set: Workloads,
		reads: []string{endpoints, endpointSlices, servicesResource},
		build: newEndpointSliceMirroring,
	},
	{
		name: "disruption-controller", aliases: []string{"disruption"}, set: Workloads,
		reads: []string{pods, budgets, replicationControllers, replicaSets, deployments, statefulSets},
		build: newDisruption,
	},
	{
		name: "horizontal-pod-autoscaler-controller", aliases: []string{"horizontalpodautoscaling"}, set: Workloads,
		reads: []string{autoscalers, pods},
		build: newHorizontalPodAutoscaler,
	},
}

func newEndpoints(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("endpoint-controller")
	if err != nil {
		return nil, err
	}
	settings := e.settings.EndpointController
	c := endpoint.NewEndpointController(ctx,
		e.informers.Core().V1().Pods(), e.informers.Core().V1().Services(), e.informers.Core().V1().Endpoints(), client,
		settings.EndpointUpdatesBatchPeriod.Duration)
	return func(ctx context.Context) { c.Run(ctx, int(settings.ConcurrentEndpointSyncs)) }, nil
}

func newEndpointSlice(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("endpointslice-controller")
	if err != nil {
		return nil, err
	}
	settings := e.settings.EndpointSliceController
	c := endpointslice.NewController(ctx,
		e.informers.Core().V1().Pods(), e.informers.Core().V1().Services(), e.informers.Core().V1().Nodes(),
		e.informers.Discovery().V1().EndpointSlices(), settings.MaxEndpointsPerSlice, client,
		settings.EndpointUpdatesBatchPeriod.Duration)
	return func(ctx context.Context) { c.Run(ctx, int(settings.ConcurrentServiceEndpointSyncs)) }, nil
}

func newEndpointSliceMirroring(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("endpointslicemirroring-controller")
	if err != nil {
		return nil, err
	}
	settings := e.settings.EndpointSliceMirroringController
	c := endpointslicemirroring.NewController(ctx,
		e.informers.Core().V1().Endpoints(), e.informers.Discovery().V1().EndpointSlices(), e.informers.Core().V1().Services(),
		settings.MirroringMaxEndpointsPerSubset, client, settings.MirroringEndpointUpdatesBatchPeriod.Duration)
	return func(ctx context.Context) { c.Run(ctx, int(settings.MirroringConcurrentServiceEndpointSyncs)) }, nil
}

func newDisruption(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("disruption-controller")
	if err != nil {
		return nil, err
	}
	scales, err := e.scales("disruption-controller")
	if err != nil {
		return nil, err
	}
	c := disruption.NewDisruptionController(ctx,
		e.informers.Core().V1().Pods(), e.informers.Policy().V1().PodDisruptionBudgets(),
		e.informers.Core().V1().ReplicationControllers(), e.informers.Apps().V1().ReplicaSets(),
		e.informers.Apps().V1().Deployments(), e.informers.Apps().V1().StatefulSets(),
		client, e.mapper, scales, client.Discovery())
	return func(ctx context.Context) { c.Run(ctx, int(e.settings.DisruptionController.ConcurrentDisruptionSyncs)) }, nil
}

func newHorizontalPodAutoscaler(ctx context.Context, e *environment) (func(context.Context), error) {
	const name = "horizontal-pod-autoscaler"
	config := e.configFor(name)
	client, err := e.client(name)
	if err != nil {
		return nil, err
	}
	scales, err := e.scales(name)
	if err != nil {
		return nil, err
	}
	resourceMetrics, err := resourceclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of resource metrics: %w", err)
	}
	externalMetrics, err := external_metrics.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of external metrics: %w", err)
	}
	versions := custom_metrics.NewAvailableAPIsGetter(client.Discovery())
	settings := e.settings.HPAController
	period := settings.HorizontalPodAutoscalerSyncPeriod.Duration
	c := podautoscaler.NewHorizontalController(ctx,
		client.CoreV1(), scales, client.AutoscalingV2(), e.mapper,
		metrics.NewRESTMetricsClient(resourceMetrics, custom_metrics.NewForConfig(config, e.mapper, versions), externalMetrics),
		e.informers.Autoscaling().V2().HorizontalPodAutoscalers(), e.informers.Core().V1().Pods(),
		period,
		settings.HorizontalPodAutoscalerDownscaleStabilizationWindow.Duration,
		settings.HorizontalPodAutoscalerTolerance,
		settings.HorizontalPodAutoscalerCPUInitializationPeriod.Duration,
		settings.HorizontalPodAutoscalerInitialReadinessDelay.Duration)
	return func(ctx context.Context) {
		go custom_metrics.PeriodicallyInvalidate(versions, period, ctx.Done())
		c.Run(ctx, int(settings.ConcurrentHorizontalPodAutoscalerSyncs))
	}, nil
}

// scales returns a client for the scale subresource of any resource.
func (e *environment) scales(name string) (scale.ScalesGetter, error) {
	client, err := e.client(name)
	if err != nil {
		return nil, err
	}
	kinds := scale.NewDiscoveryScaleKindResolver(client.Discovery())
	scales, err := scale.NewForConfig(e.configFor(name), e.mapper, dynamic.LegacyAPIPathResolverFunc, kinds)
	if err != nil {
		return nil, fmt.Errorf("client of scales: %w", err)
	}
	return scales, nil
}
