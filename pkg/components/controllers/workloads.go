// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"time"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	schedulinginformers "k8s.io/client-go/informers/scheduling/v1beta1"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/component-base/featuregate"
	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/replication"
	"k8s.io/kubernetes/pkg/controller/statefulset"
	"k8s.io/kubernetes/pkg/controller/ttlafterfinished"
	"k8s.io/kubernetes/pkg/features"
)

var workloads = []controller{
	{
		name: "deployment-controller", aliases: []string{"deployment"}, set: Workloads,
		reads: []string{deployments, replicaSets, pods},
		build: newDeployment,
	},
	{
		name: "replicaset-controller", aliases: []string{"replicaset"}, set: Workloads,
		reads: []string{replicaSets, pods},
		build: newReplicaSet,
	},
	{
		name: "replicationcontroller-controller", aliases: []string{"replicationcontroller"}, set: Workloads,
		reads: []string{replicationControllers, pods},
		build: newReplicationController,
	},
	{
		name: "statefulset-controller", aliases: []string{"statefulset"}, set: Workloads,
		reads: []string{statefulSets, pods, claims, revisions},
		build: newStatefulSet,
	},
	{
		name: "daemonset-controller", aliases: []string{"daemonset"}, set: Workloads,
		reads: []string{daemonSets, revisions, pods, nodesResource},
		build: newDaemonSet,
	},
	{
		name: "job-controller", aliases: []string{"job"}, set: Workloads,
		reads:     []string{jobs, pods},
		readsWith: map[featuregate.Feature][]string{features.WorkloadWithJob: {schedulingWorkloads, podGroups}},
		build:     newJob,
	},
	{
		name: "cronjob-controller", aliases: []string{"cronjob"}, set: Workloads,
		reads: []string{cronJobs, jobs},
		build: newCronJob,
	},
	{
		name: "ttl-after-finished-controller", aliases: []string{"ttl-after-finished"}, set: Workloads,
		reads: []string{jobs},
		build: newTTLAfterFinished,
	},
}

func newDeployment(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("deployment-controller")
	if err != nil {
		return nil, err
	}
	c, err := deployment.NewDeploymentController(ctx,
		e.informers.Apps().V1().Deployments(), e.informers.Apps().V1().ReplicaSets(), e.informers.Core().V1().Pods(), client)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.DeploymentController.ConcurrentDeploymentSyncs))
	}, nil
}

func newReplicaSet(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("replicaset-controller")
	if err != nil {
		return nil, err
	}
	c := replicaset.NewReplicaSetController(ctx,
		e.informers.Apps().V1().ReplicaSets(), e.informers.Core().V1().Pods(), client, replicaset.BurstReplicas)
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.ReplicaSetController.ConcurrentRSSyncs))
	}, nil
}

func newReplicationController(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("replication-controller")
	if err != nil {
		return nil, err
	}
	c := replication.NewReplicationManager(ctx,
		e.informers.Core().V1().Pods(), e.informers.Core().V1().ReplicationControllers(), client, replication.BurstReplicas)
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.ReplicationController.ConcurrentRCSyncs))
	}, nil
}

func newStatefulSet(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("statefulset-controller")
	if err != nil {
		return nil, err
	}
	c := statefulset.NewStatefulSetController(ctx,
		e.informers.Core().V1().Pods(), e.informers.Apps().V1().StatefulSets(),
		e.informers.Core().V1().PersistentVolumeClaims(), e.informers.Apps().V1().ControllerRevisions(), client)
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.StatefulSetController.ConcurrentStatefulSetSyncs))
	}, nil
}

func newDaemonSet(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("daemon-set-controller")
	if err != nil {
		return nil, err
	}
	c, err := daemon.NewDaemonSetsController(ctx,
		e.informers.Apps().V1().DaemonSets(), e.informers.Apps().V1().ControllerRevisions(),
		e.informers.Core().V1().Pods(), e.informers.Core().V1().Nodes(), client,
		flowcontrol.NewBackOff(time.Second, 15*time.Minute))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.DaemonSetController.ConcurrentDaemonSetSyncs))
	}, nil
}

// jobBatchPeriod is the time in which the changes of a Job's pods are collected before
// the controller counts them. Upstream's second spares an API server far away.
const jobBatchPeriod = 50 * time.Millisecond

// shortenJobBatches sets jobBatchPeriod for the process, once, because controllers that
// run read it. It keeps a period that the host has set.
var shortenJobBatches = sync.OnceFunc(func() {
	if job.SyncJobBatchPeriod == time.Second {
		job.SyncJobBatchPeriod = jobBatchPeriod
	}
})

func newJob(ctx context.Context, e *environment) (func(context.Context), error) {
	shortenJobBatches()
	client, err := e.client("job-controller")
	if err != nil {
		return nil, err
	}
	var workloadInformer schedulinginformers.WorkloadInformer
	var groupInformer schedulinginformers.PodGroupInformer
	if utilfeature.DefaultFeatureGate.Enabled(features.WorkloadWithJob) {
		workloadInformer = e.informers.Scheduling().V1beta1().Workloads()
		groupInformer = e.informers.Scheduling().V1beta1().PodGroups()
	}
	c, err := job.NewController(ctx, client, e.informers.Core().V1().Pods(), e.informers.Batch().V1().Jobs(), workloadInformer, groupInformer)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.JobController.ConcurrentJobSyncs))
	}, nil
}

func newCronJob(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("cronjob-controller")
	if err != nil {
		return nil, err
	}
	c, err := cronjob.NewControllerV2(ctx, e.informers.Batch().V1().Jobs(), e.informers.Batch().V1().CronJobs(), client)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.CronJobController.ConcurrentCronJobSyncs))
	}, nil
}

func newTTLAfterFinished(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("ttl-after-finished-controller")
	if err != nil {
		return nil, err
	}
	c := ttlafterfinished.New(ctx, e.informers.Batch().V1().Jobs(), client)
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.TTLAfterFinishedController.ConcurrentTTLSyncs))
	}, nil
}
