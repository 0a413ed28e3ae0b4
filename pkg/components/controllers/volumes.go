// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"k8s.io/component-base/featuregate"
	csitrans "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/volume/attachdetach"
	"k8s.io/kubernetes/pkg/controller/volume/ephemeral"
	"k8s.io/kubernetes/pkg/controller/volume/expand"
	"k8s.io/kubernetes/pkg/controller/volume/persistentvolume"
	"k8s.io/kubernetes/pkg/controller/volume/pvcprotection"
	"k8s.io/kubernetes/pkg/controller/volume/pvprotection"
	"k8s.io/kubernetes/pkg/controller/volume/selinuxwarning"
	"k8s.io/kubernetes/pkg/controller/volume/vacprotection"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/volume/csimigration"
)

var volumes = []controller{
	{
		name: "ephemeral-volume-controller", aliases: []string{"ephemeral-volume"}, set: Workloads,
		reads: []string{pods, claims},
		build: newEphemeral,
	},
	{
		name: "persistentvolumeclaim-protection-controller", aliases: []string{"pvc-protection"}, set: Workloads,
		reads: []string{claims, pods},
		build: newClaimProtection,
	},
	{
		name: "persistentvolume-protection-controller", aliases: []string{"pv-protection"}, set: Workloads,
		reads: []string{persistentVolumes},
		build: newVolumeProtection,
	},
	{
		name: "persistentvolume-binder-controller", aliases: []string{"persistentvolume-binder"},
		reads: []string{persistentVolumes, claims, storageClasses, pods, nodesResource},
		build: newBinder,
	},
	{
		name: "persistentvolume-attach-detach-controller", aliases: []string{"attachdetach"},
		reads: []string{pods, nodesResource, claims, persistentVolumes, csiNodes, csiDrivers, attachments},
		build: newAttachDetach,
	},
	{
		name: "persistentvolume-expander-controller", aliases: []string{"persistentvolume-expander"},
		reads: []string{claims},
		build: newExpander,
	},
	{
		name:  "volumeattributesclass-protection-controller",
		gates: []featuregate.Feature{features.VolumeAttributesClass},
		reads: []string{claims, persistentVolumes, attributesClasses},
		build: newAttributesClassProtection,
	},
	{
		name: "selinux-warning-controller", offByDefault: true,
		gates: []featuregate.Feature{features.SELinuxChangePolicy},
		reads: []string{pods, claims, persistentVolumes, csiDrivers},
		build: newSELinuxWarning,
	},
}

func newEphemeral(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("ephemeral-volume-controller")
	if err != nil {
		return nil, err
	}
	c, err := ephemeral.NewController(ctx, client, e.informers.Core().V1().Pods(), e.informers.Core().V1().PersistentVolumeClaims())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.EphemeralVolumeController.ConcurrentEphemeralVolumeSyncs))
	}, nil
}

func newClaimProtection(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("pvc-protection-controller")
	if err != nil {
		return nil, err
	}
	c, err := pvcprotection.NewPVCProtectionController(klog.FromContext(ctx),
		e.informers.Core().V1().PersistentVolumeClaims(), e.informers.Core().V1().Pods(), client)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func newVolumeProtection(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("pv-protection-controller")
	if err != nil {
		return nil, err
	}
	c, err := pvprotection.NewPVProtectionController(klog.FromContext(ctx), e.informers.Core().V1().PersistentVolumes(), client)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func newBinder(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("persistent-volume-binder")
	if err != nil {
		return nil, err
	}
	registerEmptyMetrics()
	settings := e.settings.PersistentVolumeBinderController
	plugins, err := recyclers(settings.VolumeConfiguration.PersistentVolumeRecyclerConfiguration)
	if err != nil {
		return nil, err
	}
	c, err := persistentvolume.NewController(ctx, persistentvolume.ControllerParameters{
		KubeClient:                client,
		SyncPeriod:                settings.PVClaimBinderSyncPeriod.Duration,
		VolumePlugins:             plugins,
		VolumeInformer:            e.informers.Core().V1().PersistentVolumes(),
		ClaimInformer:             e.informers.Core().V1().PersistentVolumeClaims(),
		ClassInformer:             e.informers.Storage().V1().StorageClasses(),
		PodInformer:               e.informers.Core().V1().Pods(),
		NodeInformer:              e.informers.Core().V1().Nodes(),
		EnableDynamicProvisioning: settings.VolumeConfiguration.EnableDynamicProvisioning,
	})
	if err != nil {
		return nil, err
	}
	return c.Run, nil
}

func newAttachDetach(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("attachdetach-controller")
	if err != nil {
		return nil, err
	}
	settings := e.settings.AttachDetachController
	registerEmptyMetrics()
	var c attachdetach.AttachDetachController
	err = withCSI(func() (err error) {
		c, err = attachdetach.NewAttachDetachController(ctx, client,
			e.informers.Core().V1().Pods(), e.informers.Core().V1().Nodes(),
			e.informers.Core().V1().PersistentVolumeClaims(), e.informers.Core().V1().PersistentVolumes(),
			e.informers.Storage().V1().CSINodes(), e.informers.Storage().V1().CSIDrivers(), e.informers.Storage().V1().VolumeAttachments(),
			attachers(), noDynamicPlugins,
			settings.DisableAttachDetachReconcilerSync, settings.ReconcilerSyncLoopPeriod.Duration,
			settings.DisableForceDetachOnTimeout, attachdetach.DefaultTimerConfig)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.Run, nil
}

func newExpander(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("expand-controller")
	if err != nil {
		return nil, err
	}
	// No in-tree plugin expands volumes any more. The controller only hands claims of
	// migrated plugins over to their CSI drivers.
	translator := csitrans.New()
	c, err := expand.NewExpandController(ctx, client, e.informers.Core().V1().PersistentVolumeClaims(),
		nil, translator, csimigration.NewPluginManager(translator))
	if err != nil {
		return nil, err
	}
	return c.Run, nil
}

func newAttributesClassProtection(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("volumeattributesclass-protection-controller")
	if err != nil {
		return nil, err
	}
	c, err := vacprotection.NewVACProtectionController(klog.FromContext(ctx), client,
		e.informers.Core().V1().PersistentVolumeClaims(), e.informers.Core().V1().PersistentVolumes(),
		e.informers.Storage().V1().VolumeAttributesClasses())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func newSELinuxWarning(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("selinux-warning-controller")
	if err != nil {
		return nil, err
	}
	var c *selinuxwarning.Controller
	err = withCSI(func() (err error) {
		c, err = selinuxwarning.NewController(ctx, client,
			e.informers.Core().V1().Pods(), e.informers.Core().V1().PersistentVolumeClaims(),
			e.informers.Core().V1().PersistentVolumes(), e.informers.Storage().V1().CSIDrivers(),
			allPlugins(), noDynamicPlugins)
		return err
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}
