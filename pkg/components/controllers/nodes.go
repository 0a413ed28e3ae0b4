// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/featuregate"
	"k8s.io/kubernetes/pkg/controller/nodeipam"
	"k8s.io/kubernetes/pkg/controller/nodeipam/ipam"
	"k8s.io/kubernetes/pkg/controller/nodelifecycle"
	"k8s.io/kubernetes/pkg/controller/tainteviction"
	"k8s.io/kubernetes/pkg/controller/ttl"
	"k8s.io/kubernetes/pkg/features"
	netutils "k8s.io/utils/net"
)

// nodeMonitorPeriod is the period in which the lifecycle controller looks at the
// conditions of nodes and taints them. Upstream's period is five seconds. Half a second
// costs 4 % of a processor more with a thousand nodes.
const nodeMonitorPeriod = 500 * time.Millisecond

const nodeIPAM = "node-ipam-controller"

var nodes = []controller{
	{
		name: "node-lifecycle-controller", aliases: []string{"nodelifecycle"}, set: Nodes,
		reads: []string{leases, pods, nodesResource, daemonSets},
		build: newNodeLifecycle,
	},
	{
		name: "taint-eviction-controller", set: Nodes,
		gates: []featuregate.Feature{features.SeparateTaintEvictionController},
		reads: []string{pods, nodesResource},
		build: newTaintEviction,
	},
	{
		name: nodeIPAM, aliases: []string{"nodeipam"}, set: Nodes,
		reads: []string{nodesResource},
		build: newNodeIPAM,
	},
	{
		name: "ttl-controller", aliases: []string{"ttl"}, set: Nodes,
		reads: []string{nodesResource},
		build: newNodeTTL,
	},
}

// nodeTTLWorkers is upstream's number of workers.
const nodeTTLWorkers = 5

func newNodeTTL(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("ttl-controller")
	if err != nil {
		return nil, err
	}
	c := ttl.NewTTLController(ctx, e.informers.Core().V1().Nodes(), client)
	return func(ctx context.Context) { c.Run(ctx, nodeTTLWorkers) }, nil
}

func newNodeLifecycle(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("node-controller")
	if err != nil {
		return nil, err
	}
	settings := e.settings.NodeLifecycleController
	heartbeats, err := newHeartbeats(e.informers.Coordination().V1().Leases())
	if err != nil {
		return nil, err
	}
	c, err := nodelifecycle.NewNodeLifecycleController(ctx,
		heartbeats, e.informers.Core().V1().Pods(), e.informers.Core().V1().Nodes(),
		e.informers.Apps().V1().DaemonSets(), client,
		settings.NodeMonitorPeriod.Duration,
		settings.NodeStartupGracePeriod.Duration, settings.NodeMonitorGracePeriod.Duration,
		settings.NodeEvictionRate, settings.SecondaryNodeEvictionRate,
		settings.LargeClusterSizeThreshold, settings.UnhealthyZoneThreshold)
	if err != nil {
		return nil, err
	}
	return c.Run, nil
}

func newTaintEviction(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("node-controller")
	if err != nil {
		return nil, err
	}
	c, err := tainteviction.New(ctx, client, e.informers.Core().V1().Pods(), e.informers.Core().V1().Nodes(), "taint-eviction-controller")
	if err != nil {
		return nil, err
	}
	return c.Run, nil
}

func newNodeIPAM(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("node-controller")
	if err != nil {
		return nil, err
	}
	// Upstream's default is the default of its flag.
	if allocator := e.settings.KubeCloudShared.CIDRAllocatorType; allocator != "" && allocator != string(ipam.RangeAllocatorType) {
		return nil, fmt.Errorf("Config.Customize: KubeCloudShared.CIDRAllocatorType %q needs a cloud provider: leave it empty", allocator)
	}
	ranges, err := podCIDRs(e.settings)
	if err != nil {
		return nil, fmt.Errorf("Config.PodCIDR: %w", err)
	}
	first, second, err := serviceRanges(ctx, e, client)
	if err != nil {
		return nil, err
	}
	c, err := nodeipam.NewNodeIpamController(ctx, e.informers.Core().V1().Nodes(), nil, client,
		ranges, first, second, nodeMasks(e.settings, ranges), ipam.RangeAllocatorType)
	if err != nil {
		return nil, fmt.Errorf("Config.PodCIDR: %w", err)
	}
	return c.Run, nil
}

// serviceRanges returns the ranges of Service addresses, which node ranges must not
// overlap: the ranges of Customize, or of the control plane.
func serviceRanges(ctx context.Context, e *environment, client kubernetes.Interface) (first, second *net.IPNet, err error) {
	settings := e.settings.NodeIPAMController
	texts := []string{settings.ServiceCIDR, settings.SecondaryServiceCIDR}
	if settings.ServiceCIDR == "" {
		object, err := client.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err): // Services are disabled
			return nil, nil, nil
		case err != nil:
			return nil, nil, fmt.Errorf("the range of Service addresses: %w", err)
		}
		texts = object.Spec.CIDRs
	}
	ranges := make([]*net.IPNet, 2)
	for i, text := range texts {
		if text == "" || i >= len(ranges) {
			continue
		}
		if _, ranges[i], err = netutils.ParseCIDRSloppy(text); err != nil {
			return nil, nil, fmt.Errorf("Config.Customize: NodeIPAMController.ServiceCIDR: %w", err)
		}
	}
	if ranges[0] != nil && ranges[1] != nil && netutils.IsIPv6CIDR(ranges[0]) == netutils.IsIPv6CIDR(ranges[1]) {
		return nil, nil, errors.New("Config.Customize: NodeIPAMController: ServiceCIDR and SecondaryServiceCIDR must be one of IPv4 and one of IPv6")
	}
	return ranges[0], ranges[1], nil
}
