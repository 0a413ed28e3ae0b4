// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"

	"go.uber.org/zap"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsclientset "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	clientfeatures "k8s.io/client-go/features"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/storageversionmigrator"
	"k8s.io/kubernetes/pkg/features"
)

// migrator is upstream's name of the controller and its field manager.
const migrator = "storage-version-migrator-controller"

// migrateStorageVersions runs the controllers of StorageVersionMigrations from the first
// object on, until ctx ends. Before, they only cost the informer that the garbage
// collector has anyway. They read the objects to migrate from its informers, so they run
// beside it.
func (r *run) migrateStorageVersions(ctx context.Context, all *objectInformers, graph *garbagecollector.GraphBuilder, mapper meta.ResettableRESTMapper) {
	resource := storagemigrationv1.SchemeGroupVersion.WithResource("storageversionmigrations")
	if !r.migrationEnabled() || !r.serves([]schema.GroupVersionResource{resource}) || !waitForFirstObject(ctx, all, resource) {
		return
	}
	config := dynamic.ConfigFor(r.config)
	config.QPS *= 20 // as upstream
	config.Burst *= 100
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		r.Logger.Error("storage versions are not migrated", zap.Error(err))
		return
	}
	crds, err := apiextensionsclientset.NewForConfig(r.config)
	if err != nil {
		r.Logger.Error("storage versions are not migrated", zap.Error(err))
		return
	}
	factory := informers.NewSharedInformerFactory(r.client, resync)
	informer := factory.Storagemigration().V1().StorageVersionMigrations()
	loops := []func(context.Context){
		storageversionmigrator.NewSVMController(ctx, r.client, objects, informer, migrator, mapper, graph).Run,
		storageversionmigrator.NewResourceVersionController(ctx, r.client, r.client.Discovery(), r.metadata, informer, mapper).Run,
		storageversionmigrator.NewCustomResourceController(ctx, r.client, informer, crds.ApiextensionsV1().CustomResourceDefinitions()).Run,
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	var running sync.WaitGroup
	defer running.Wait()
	for _, loop := range loops {
		running.Go(func() { loop(ctx) })
	}
}

// migrationEnabled reports whether kube-controller-manager would run the controllers.
func (r *run) migrationEnabled() bool {
	client := clientfeatures.FeatureGates()
	if !utilfeature.DefaultFeatureGate.Enabled(features.StorageVersionMigrator) || !client.Enabled(clientfeatures.InformerResourceVersion) {
		return false
	}
	if !client.Enabled(clientfeatures.InOrderInformers) {
		r.Logger.Error("storage versions are not migrated: client-go's feature gate InOrderInformers is off")
		return false
	}
	return true
}

// waitForFirstObject waits for an object of the resource. It returns false if ctx ends
// first.
func waitForFirstObject(ctx context.Context, all *objectInformers, resource schema.GroupVersionResource) bool {
	informer, err := all.ForResource(resource)
	if err != nil {
		return false
	}
	first := make(chan struct{})
	found := sync.OnceFunc(func() { close(first) })
	registration, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { found() }})
	if err != nil {
		return false
	}
	defer func() { _ = informer.Informer().RemoveEventHandler(registration) }()
	select {
	case <-first:
		return true
	case <-ctx.Done():
		return false
	}
}
