// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"fmt"
	"slices"
	"strings"
)

// componentsEntries are for pkg/components and internal/controllers: the scheduler and
// the controllers.
var componentsEntries = slices.Concat(controllerEntries, constructorEntries(), coreControllerEntries, schedulerEntries, clientEntries)

const (
	controllerManager = "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	garbageCollector  = "k8s.io/kubernetes/pkg/controller/garbagecollector"
)

// controllerEntries are for pkg/components/controllers.
var controllerEntries = []Entry{
	{
		Ours: "pkg/components/controllers/catalogue.go:catalogue",
		Test: "pkg/components/controllers:TestCatalogueIsUpstreams",
		Look: "Names, aliases, feature gates and defaults of the controllers are copied; a new controller would not run.",
	},
	{
		Ours: "pkg/components/controllers/catalogue.go:controller",
		Test: "pkg/components/controllers:TestReadsMatchCaches",
		Look: "The caches of each controller are listed; a cache of an API that is not served would keep all controllers from getting ready.",
	},
	{
		Ours: "pkg/components/controllers/flagdefaults.go:setFlagDefaults",
		Test: "pkg/components/controllers:TestFlagDefaults",
		Look: "Defaults that only the flags of kube-controller-manager have are copied.",
	},
	{
		Ours: "pkg/components/controllers/metrics.go:registerEmptyMetrics",
		Test: "pkg/components/controllers:TestRunReleasesMemory",
		Look: "Metrics that count the caches of the first controllers of the process are claimed before; a new one would keep a control plane in memory.",
	},
	{
		Ours:    "pkg/components/controllers/metrics.go:registerEmptyMetrics",
		Package: "k8s.io/kubernetes/pkg/controller/resourceclaim/metrics",
		Decl:    "RegisterMetrics",
		Has:     []string{"registerMetrics.Do(func()", "collector != nil"},
		Look:    "registerEmptyMetrics calls it first, without a collector: the second call must do nothing.",
	},
	{
		Ours:    "pkg/components/controllers/volumeplugins.go:withCSI",
		Package: "k8s.io/kubernetes/pkg/volume/csi",
		Decl:    "(*csiPlugin).Init",
		Has:     []string{"nim = nodeinfomanager.NewNodeInfoManager(host.GetNodeName(), host, migratedPlugins)", "PluginHandler.csiPlugin = p"},
		Look:    "Init writes variables of its package, which withCSI overwrites; another one would keep a control plane in memory.",
	},
	{
		Ours:    "pkg/components/controllers/heartbeats.go:heartbeats",
		Package: "k8s.io/kubernetes/pkg/controller/nodelifecycle",
		Decl:    "(*Controller).tryUpdateNodeHealth",
		Has: []string{
			"observedLease, _ := nc.leaseLister.Leases(v1.NamespaceNodeLease).Get(node.Name)",
			"if observedLease != nil && (savedLease == nil || savedLease.Spec.RenewTime.Before(observedLease.Spec.RenewTime)) {",
		},
		Look: "heartbeats replaces the renewal time in the result of Get, which is only compared with itself; any other use would see our time.",
	},
	{
		Ours:    "pkg/components/controllers/config.go:nodeMasks",
		Package: controllerManager,
		Decl:    "setNodeCIDRMaskSizes",
		Digest:  "ff0dd09f7debcac6",
		Look:    "nodeMasks follows it: nodes would get ranges of another size.",
	},
	{
		Ours:    "pkg/components/controllers/environment.go:newEnvironment",
		Package: controllerManager,
		Decl:    "CreateControllerContext",
		Digest:  "fd459eda76625db8",
		Look:    "newEnvironment follows it: the informers, their resync period, and the REST mapper that the controllers share.",
	},
	{
		Ours:    "pkg/components/controllers/environment.go:environment",
		Package: controllerManager,
		Decl:    "ControllerContext",
		Fields: []string{
			"ClientBuilder", "InformerFactory", "ObjectOrMetadataInformerFactory", "ComponentConfig", "RESTMapper",
			"InformersStarted", "ResyncPeriod", "ControllerManagerMetrics", "GraphBuilder",
		},
		Look: "environment has the controllers' shared state: a controller that needs the new field cannot be made.",
	},
}

// constructorEntries are for the functions that make the controllers. Our functions
// follow them.
func constructorEntries() (entries []Entry) {
	for _, c := range constructors {
		function, file, _ := strings.Cut(c.ours, " ")
		entries = append(entries, Entry{
			Ours: file + ":" + function, Package: controllerManager, Decl: c.decl, Digest: c.digest,
			Look: fmt.Sprintf("%s makes the controller in the same way: with the same informers, clients, periods and numbers of workers.", function),
		})
	}
	return entries
}

// constructors are our functions, by name and file, with upstream's.
var constructors = []struct{ ours, decl, digest string }{
	{"newDeployment pkg/components/controllers/workloads.go", "newDeploymentController", "2436d8ea96901499"},
	{"newReplicaSet pkg/components/controllers/workloads.go", "newReplicaSetController", "8747eba590c8e8b8"},
	{"newReplicationController pkg/components/controllers/workloads.go", "newReplicationController", "2277fb9d78738658"},
	{"newStatefulSet pkg/components/controllers/workloads.go", "newStatefulSetController", "6fceecfff5be8142"},
	{"newDaemonSet pkg/components/controllers/workloads.go", "newDaemonSetController", "468b3dae4911ab50"},
	{"newJob pkg/components/controllers/workloads.go", "newJobController", "a32653c9529e714f"},
	{"newCronJob pkg/components/controllers/workloads.go", "newCronJobController", "bdb367028e006ac0"},
	{"newTTLAfterFinished pkg/components/controllers/workloads.go", "newTTLAfterFinishedController", "572ded88c99c9104"},
	{"newEndpoints pkg/components/controllers/services.go", "newEndpointsController", "8fbe0901ad1eb0dc"},
	{"newEndpointSlice pkg/components/controllers/services.go", "newEndpointSliceController", "89620780fd19d295"},
	{"newEndpointSliceMirroring pkg/components/controllers/services.go", "newEndpointSliceMirroringController", "757c91debea835ff"},
	{"newDisruption pkg/components/controllers/services.go", "newDisruptionController", "48e045c70e1d5757"},
	{"newHorizontalPodAutoscaler pkg/components/controllers/services.go", "newHorizontalPodAutoscalerController", "a2061a3932ac8586"},
	{"newNodeLifecycle pkg/components/controllers/nodes.go", "newNodeLifecycleController", "96e19d705ea62c0d"},
	{"newTaintEviction pkg/components/controllers/nodes.go", "newTaintEvictionController", "4ffb7298ded84d95"},
	{"newNodeIPAM pkg/components/controllers/nodes.go", "newNodeIpamController", "9a7ab2d7e4855eae"},
	{"newNodeTTL pkg/components/controllers/nodes.go", "newTTLController", "6d4a5e5a4fc91acd"},
	{"newEphemeral pkg/components/controllers/volumes.go", "newEphemeralVolumeController", "d241e6c4359a795d"},
	{"newClaimProtection pkg/components/controllers/volumes.go", "newPersistentVolumeClaimProtectionController", "02329a5ada6fad42"},
	{"newVolumeProtection pkg/components/controllers/volumes.go", "newPersistentVolumeProtectionController", "81192756ebc5f084"},
	{"newBinder pkg/components/controllers/volumes.go", "newPersistentVolumeBinderController", "afbae857c6a0d39f"},
	{"newAttachDetach pkg/components/controllers/volumes.go", "newPersistentVolumeAttachDetachController", "b321f8307e0d342e"},
	{"newExpander pkg/components/controllers/volumes.go", "newPersistentVolumeExpanderController", "a15cc1f25a5fd294"},
	{"newAttributesClassProtection pkg/components/controllers/volumes.go", "newVolumeAttributesClassProtectionController", "a27053e3921cdcee"},
	{"newSELinuxWarning pkg/components/controllers/volumes.go", "newSELinuxWarningController", "a0c2f1057a8f2bcd"},
	{"newResourceClaim pkg/components/controllers/dra.go", "newResourceClaimController", "ebb3744c83c30579"},
	{"newDeviceTaintEviction pkg/components/controllers/dra.go", "newDeviceTaintEvictionController", "f44275cef556be3a"},
	{"newResourcePoolStatusRequest pkg/components/controllers/dra.go", "newResourcePoolStatusRequestController", "3bfb89177d03aa5e"},
	{"newPodGroupProtection pkg/components/controllers/dra.go", "newPodGroupProtectionController", "551e2968c30245a5"},
	{"newServiceCIDR pkg/components/controllers/housekeeping.go", "newServiceCIDRsController", "243392920af7f31a"},
	{"newAdmissionPolicyStatus pkg/components/controllers/housekeeping.go", "newValidatingAdmissionPolicyStatusController", "b61c35af22993f88"},
	{"newLegacyTokenCleaner pkg/components/controllers/housekeeping.go", "newLegacyServiceAccountTokenCleanerController", "0511c07486ecd32e"},
	{"newPodCertificateRequestCleaner pkg/components/controllers/housekeeping.go", "newPodCertificateRequestCleanerController", "38bc3b089b8bd60a"},
	{"newStorageVersionGC pkg/components/controllers/housekeeping.go", "newStorageVersionGarbageCollectorController", "026144ad8d792362"},
	{"newServingTrustBundle pkg/components/controllers/trustbundle.go", "newKubeAPIServerSignerClusterTrustBundledPublisherController", "faada13d237df8df"},
	{"(*run).migrateStorageVersions internal/controllers/storageversionmigration.go", "newSVMController", "cd98fd283f9b7970"},
	{"(*run).collectGarbage internal/controllers/garbagecollector.go", "newGarbageCollectorController", "3da667237ebee7f1"},
	{"(*run).computeQuota internal/controllers/resourcequota.go", "newResourceQuotaController", "44916deeee18f870"},
	{"(*run).namespaces internal/controllers/namespace.go", "newModifiedNamespaceController", "091f48ea281fc300"},
	{"(*run).serviceAccounts internal/controllers/core.go", "newServiceAccountController", "05f073d721bf682f"},
	{"(*run).tokens internal/controllers/core.go", "newServiceAccountTokenController", "72c16ae61e6b22f8"},
	{"(*run).rootCA internal/controllers/core.go", "newRootCACertificatePublisherController", "2d45326970553b50"},
	{"(*run).clusterRoles internal/controllers/core.go", "newClusterRoleAggregationController", "cd82f20bf7eee027"},
	{"newPodCollector internal/controllers/podgc.go", "newPodGarbageCollectorController", "360a93a97034cd41"},
}

// coreControllerEntries are for internal/controllers.
var coreControllerEntries = []Entry{
	{
		Ours:    "pkg/components/controllers/workloads.go:shortenJobBatches",
		Package: "k8s.io/kubernetes/pkg/controller/job", Decl: "SyncJobBatchPeriod",
		Has:  []string{"SyncJobBatchPeriod = time.Second"},
		Look: "shortenJobBatches sets it if it has upstream's value, before a controller can read it.",
	},
	{
		Ours:    "internal/controllers/namespace.go:namespaceGracePeriod",
		Package: "k8s.io/kubernetes/pkg/controller/namespace", Decl: "namespaceDeletionGracePeriod",
		Has:  []string{"5 * time.Second"},
		Look: "namespaceGracePeriod is the same.",
	},
	{
		Ours:    "internal/controllers/namespace.go:namespaceDeleter",
		Package: "k8s.io/kubernetes/pkg/controller/namespace", Decl: "namespace_controller.go",
		Digest: "9d2276885fd2fb93",
		Look:   "namespaceDeleter has the same events, limits, retries and number of workers, except for the grace period.",
	},
	{
		Ours:    "internal/controllers/namespace.go:(*namespaceDeleter).skipGracePeriod",
		Package: "k8s.io/kubernetes/pkg/registry/core/namespace/storage", Decl: "(*REST).Delete",
		Has:  []string{"existingNamespace.DeletionTimestamp = &now", "existingNamespace.Status.Phase = api.NamespaceTerminating", "return existingNamespace, nil"},
		Look: "The phase is stored with the deletion, so that no later request is admitted; otherwise a namespace needs the grace period.",
	},
	{
		Ours:    "internal/controllers/namespace.go:(*namespaceDeleter).skipGracePeriod",
		Package: "k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle", Decl: "(*Lifecycle).Admit",
		Has: []string{
			"l.forceLiveLookupCache.Add(a.GetName(), true, forceLiveLookupTTL)",
			"forceLiveLookup = exists && namespace.Status.Phase == v1.NamespaceActive",
			"if !exists || forceLiveLookup",
			"if namespace.Status.Phase != v1.NamespaceTerminating",
		},
		Look: "The server that deletes a namespace looks it up for later requests; if its informer decided, a namespace would need the grace period.",
	},
	{
		Ours:    "internal/controllers/informers.go:objectInformers",
		Package: "k8s.io/controller-manager/pkg/informerfactory",
		Decl:    "InformerFactory",
		Digest:  "3150729623de452f",
		Look:    "objectInformers is one: the garbage collector and the quota would ask it for more.",
	},
	{
		Ours:    "internal/controllers/informers.go:(*objectInformer).GetController",
		Package: garbageCollector,
		Decl:    "(*GraphBuilder).controllerFor",
		Has:     []string{"gb.sharedInformers.ForResource(resource)", "return shared.Informer().GetController(), shared.Informer().GetStore(), nil"},
		Look:    "GetController counts who wants the informer; got in another way, informers of deleted CRDs never end.",
	},
	{
		Ours:    "internal/controllers/informers.go:informerUser.Run",
		Package: garbageCollector,
		Decl:    "(*monitor).Run",
		Has:     []string{"m.controller.Run(m.stopCh)"},
		Look:    "Run determines how long the garbage collector uses the informer; otherwise it ends while it is in use, or never.",
	},
	{
		Ours:    "internal/controllers/informers.go:informerUser.Run",
		Package: "k8s.io/kubernetes/pkg/controller/resourcequota",
		Decl:    "(*monitor).Run",
		Has:     []string{"m.controller.Run(m.stopCh)"},
		Look:    "Run determines how long the quota controller uses the informer; otherwise it ends while it is in use, or never.",
	},
	{
		Ours:    "internal/controllers/informers.go:informerUser.HasSynced",
		Package: garbageCollector,
		Decl:    "(*GraphBuilder).IsSynced",
		Has:     []string{"!monitor.controller.HasSynced()"},
		Look:    "HasSynced is true for kinds without objects, whose informers do not run; asked in another way, the garbage collector waits for them.",
	},
	{
		Ours:    "internal/controllers/informers.go:informerUser.LastSyncResourceVersion",
		Package: "k8s.io/kubernetes/pkg/controller/storageversionmigrator",
		Decl:    "(*SVMController).sync",
		Has: []string{
			"svmc.dependencyGraphBuilder.GetMonitor(monCtx, *gvr)",
			"gcListResourceVersion := resourceMonitor.Controller.LastSyncResourceVersion()",
			"resourceversion.CompareResourceVersion(gcListResourceVersion, listResourceVersion)",
		},
		Look: "LastSyncResourceVersion answers for informers that do not run; asked in another way, the migration of an unused CRD fails.",
	},
	{
		Ours:    "internal/controllers/discovery.go:(*blockingDiscovery).ServerPreferredResources",
		Package: garbageCollector,
		Decl:    "(*GarbageCollector).Sync",
		Has:     []string{"GetDeletableResources(ctx, discovery.ToServerResourcesInterfaceWithContext(discoveryClient))", "}, period)"},
		Look:    "blockingDiscovery answers when the APIs have changed, since this loop asks every 10 ms; asked in another way, it asks the API server every 10 ms.",
	},
	{
		Ours:    "internal/controllers/discovery.go:(*blockingDiscovery).ServerPreferredResources",
		Package: "k8s.io/client-go/discovery",
		Decl:    "DiscoveryInterface",
		Digest:  "167a3f8668773341",
		Look:    "blockingDiscovery embeds it and overrides two methods; a method with a context in it would be asked in their place.",
	},
	{
		Ours:    "internal/controllers/discovery.go:(*blockingDiscovery).ServerPreferredResources",
		Package: "k8s.io/client-go/discovery",
		Decl:    "(*serverResourcesInterfaceWrapper).ServerPreferredResourcesWithContext",
		Has:     []string{"return i.delegate.ServerPreferredResources()"},
		Look:    "The garbage collector asks blockingDiscovery through it.",
	},
	{
		Ours:    "internal/controllers/discovery.go:(*blockingDiscovery).ServerPreferredNamespacedResources",
		Package: "k8s.io/kubernetes/pkg/controller/resourcequota",
		Decl:    "(*Controller).Sync",
		Has:     []string{"GetQuotableResources(discoveryFunc)", "}, period)"},
		Look:    "blockingDiscovery answers when the APIs have changed, since this loop asks every 10 ms.",
	},
	{
		Ours:    "internal/controllers/resourcequota.go:(*quotaHandling).addIncomplete",
		Package: "k8s.io/kubernetes/pkg/controller/resourcequota",
		Decl:    "NewController",
		Has:     []string{"options.ResourceQuotaInformer.Informer().AddEventHandlerWithResyncPeriod(", "rq.addQuota(logger, obj)"},
		Look:    "quotaHandling has the handler from this call; with another a quota of a new kind is computed up to 30 s later.",
	},
	{
		Ours:    "internal/controllers/resourcequota.go:(*run).computeQuota",
		Package: "k8s.io/kubernetes/pkg/controller/resourcequota",
		Decl:    "(*QuotaMonitor).SyncMonitors",
		Has:     []string{"qm.registry.Add(evaluator)"},
		Look:    "Quotas are computed again when the controller asks for the next discovery: by then it counts the new kind.",
	},
	{
		Ours:    "internal/controllers/garbagecollector.go:(*objectInformers).sync",
		Package: garbageCollector,
		Decl:    "(*GarbageCollector).Sync",
		Has:     []string{"gc.restMapper.Reset()", "gc.resyncMonitors(logger, newResources)", "context.WithTimeout(ctx, period)", "cache.WaitForNamedCacheSyncWithContext(syncCtx,"},
		Look:    "The period of 10 ms is also the wait for informers, which have synced before; if the first look comes later, the log has an error for each new kind.",
	},
	{
		Ours:    "internal/controllers/handlersync.go:(*syncTrackingInformer).AddEventHandlerWithResyncPeriod",
		Package: "k8s.io/kubernetes/pkg/controller/serviceaccount",
		Decl:    "NewServiceAccountsController",
		Has:     []string{"saInformer.Informer().AddEventHandlerWithResyncPeriod(", "nsInformer.Informer().AddEventHandlerWithResyncPeriod("},
		Look:    "syncTrackingInformer sees the registrations through this method; with another the first pod of a namespace waits 100 ms more.",
	},
	{
		Ours:    "internal/controllers/namespace.go:(*run).namespaces",
		Package: "k8s.io/kubernetes/pkg/controller/namespace/deletion",
		Decl:    "(*namespacedResourcesDeleter).initOpCache",
		Has:     []string{"resources, err := d.discoverResourcesFn()", "if len(resources) == 0 {", "klog.FlushAndExit(klog.ExitFlushTimeout, 1)"},
		Look:    "The first answer of the discovery function is one that is known, since upstream ends the process without it.",
	},
	{
		Ours:    "internal/controllers/resourcequota.go:(*run).computeQuota",
		Package: "k8s.io/kubernetes/pkg/controller/resourcequota",
		Decl:    "ControllerOptions",
		Fields: []string{
			"QuotaClient", "ResourceQuotaInformer", "ResyncPeriod", "Registry", "DiscoveryFunc", "IgnoredResourcesFunc",
			"InformersStarted", "InformerFactory", "ReplenishmentResyncPeriod", "UpdateFilter",
		},
		Look: "quota fills all of them.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "(*PodGCController).gc",
		Digest:  "1c6da51f09a73142",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "(*PodGCController).gcTerminating",
		Digest:  "bdfffe91b78b1593",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "(*PodGCController).gcTerminated",
		Digest:  "7e3ac5fe70462817",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "(*PodGCController).gcOrphaned",
		Digest:  "884e578bd4dcba2c",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "(*PodGCController).discoverDeletedNodes",
		Digest:  "7e65ab13b9308a6e",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "(*PodGCController).gcUnscheduledTerminating",
		Digest:  "eadc6447108484a6",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "(*PodGCController).markFailedAndDeletePodWithCondition",
		Digest:  "1be4725582ffdbbd",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "byEvictionAndCreationTimestamp.Less",
		Digest:  "f561c5efe09ece7c",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
	{
		Ours:    "internal/controllers/podgc.go:podCollector",
		Package: "k8s.io/kubernetes/pkg/controller/podgc",
		Decl:    "isPodTerminated",
		Digest:  "8e5c96955b0519a9",
		Look:    "podCollector does the same, since upstream's links the kubelet.",
	},
}

// schedulerEntries are for pkg/components/scheduler.
var schedulerEntries = []Entry{
	{
		Ours:    "pkg/components/scheduler/cachecorruption.go:cacheFunction",
		Package: "k8s.io/kubernetes/pkg/scheduler/backend/cache",
		Decl:    "(*cacheImpl).UpdatePod",
		Has:     []string{"Scheduler cache is corrupted", "klog.FlushAndExit(klog.ExitFlushTimeout, 1)"},
		Look:    "The exit is contained by the function's name, and ends the run by the log text before it; otherwise it ends the host's process.",
	},
	{
		Ours:    "pkg/components/scheduler/cachecorruption.go:cacheCorrupted",
		Package: "k8s.io/kubernetes/pkg/scheduler/backend/cache",
		Decl:    "(*cacheImpl).RemovePod",
		Has:     []string{"Scheduler cache is corrupted", "klog.FlushAndExit(klog.ExitFlushTimeout, 1)"},
		Look:    "The exit is contained by the function's name, and ends the run by the log text before it; otherwise it ends the host's process.",
	},
	{
		Ours:    "pkg/components/scheduler/dependencies.go:(*Scheduler).newScheduler",
		Package: "k8s.io/kubernetes/cmd/kube-scheduler/app",
		Decl:    "Setup",
		Digest:  "00766759c7b542ae",
		Look:    "newScheduler passes the same options to the scheduler.",
	},
	{
		Ours:    "pkg/components/scheduler/dependencies.go:(*dependencies).sync",
		Package: "k8s.io/kubernetes/cmd/kube-scheduler/app",
		Decl:    "Run",
		Digest:  "b41f7f48c49923dc",
		Look:    "sync and run follow it: check the started parts, and the waits before pods are scheduled.",
	},
	{
		Ours:    "pkg/components/scheduler/dependencies.go:newDependencies",
		Package: "k8s.io/kubernetes/cmd/kube-scheduler/app/options",
		Decl:    "(*Options).Config",
		Digest:  "eeda1e84a6e48526",
		Look:    "newDependencies makes the same informers, clients and events.",
	},
	{
		Ours:    "pkg/components/scheduler/configuration.go:complete",
		Package: "k8s.io/kubernetes/cmd/kube-scheduler/app/options",
		Decl:    "loadConfig",
		Digest:  "b6899ea72e67d015",
		Look:    "complete reads the configuration in the same way.",
	},
	{
		Ours:    "pkg/components/scheduler/dependencies.go:(*dependencies).sync",
		Package: "k8s.io/kubernetes/pkg/scheduler",
		Decl:    "(*Scheduler).WaitForHandlersSync",
		Has:     []string{"wait.PollUntilContextCancel(ctx, syncedPollPeriod, true, ", "!handler.HasSynced()"},
		Look:    "sync calls it with a context that has ended, so that it looks once and at once; otherwise it never gets ready.",
	},
	{
		Ours:    "pkg/components/scheduler/scheduler.go:rejectWaitingPods",
		Package: "k8s.io/kubernetes/pkg/scheduler",
		Decl:    "Scheduler",
		Has:     []string{"Profiles profile.Map"},
		Look:    "Stopping ends the wait of pods for Permit plugins through the profiles.",
	},
}

// clientEntries are for tests with real clients.
var clientEntries = []Entry{
	{
		Ours:    "internal/e2e/kubectl_test.go:gitVersion",
		Package: "k8s.io/component-base/version",
		Decl:    "gitVersion",
		Exists:  true,
		Look:    "Kubelet and kubectl of the tests get their version through this variable, as release builds do.",
	},
}
