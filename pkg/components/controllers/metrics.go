// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"

	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	csitrans "k8s.io/csi-translation-lib"
	resourceclaimmetrics "k8s.io/kubernetes/pkg/controller/resourceclaim/metrics"
	attachcache "k8s.io/kubernetes/pkg/controller/volume/attachdetach/cache"
	attachmetrics "k8s.io/kubernetes/pkg/controller/volume/attachdetach/metrics"
	bindermetrics "k8s.io/kubernetes/pkg/controller/volume/persistentvolume/metrics"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/csimigration"
)

// registerEmptyMetrics registers upstream's metrics of cached objects with empty caches.
// Upstream registers them once per process, with the caches of the first controllers,
// which would keep their control plane in memory.
var registerEmptyMetrics = sync.OnceFunc(func() {
	empty := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	claims, volumes := corelisters.NewPersistentVolumeClaimLister(empty), corelisters.NewPersistentVolumeLister(empty)
	plugins, translator := &volume.VolumePluginMgr{}, csitrans.New()
	bindermetrics.Register(noVolumes{}, noClaims{}, plugins)
	attachmetrics.Register(claims, volumes, corelisters.NewPodLister(empty),
		attachcache.NewActualStateOfWorld(plugins), attachcache.NewDesiredStateOfWorld(plugins),
		plugins, csimigration.NewPluginManager(translator), translator)
	resourceclaimmetrics.RegisterMetrics(nil)
})

type noVolumes struct{ bindermetrics.PVLister }

func (noVolumes) List() []any { return nil }

type noClaims struct{ bindermetrics.PVCLister }

func (noClaims) List() []any { return nil }
