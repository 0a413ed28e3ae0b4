// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	garbagecollectorconfig "k8s.io/kubernetes/pkg/controller/garbagecollector/config"
	"k8s.io/kubernetes/pkg/controller/nodeipam/ipam"
)

// setFlagDefaults sets the defaults that only the flags of kube-controller-manager have
// (k8s.io/kubernetes/cmd/kube-controller-manager/app/options). In its configuration they
// are zero, and the pods of at most one failed node would be evicted.
func setFlagDefaults(c *kubectrlmgrconfig.KubeControllerManagerConfiguration) {
	n := &c.NodeLifecycleController
	n.NodeEvictionRate, n.SecondaryNodeEvictionRate = 0.1, 0.01
	n.LargeClusterSizeThreshold, n.UnhealthyZoneThreshold = 50, 0.55
	c.KubeCloudShared.CIDRAllocatorType = string(ipam.RangeAllocatorType)
	for ignored := range garbagecollector.DefaultIgnoredResources() {
		c.GarbageCollectorController.GCIgnoredResources = append(c.GarbageCollectorController.GCIgnoredResources,
			garbagecollectorconfig.GroupResource{Group: ignored.Group, Resource: ignored.Resource})
	}
}
