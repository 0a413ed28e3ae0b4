// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"
	upstreamjob "k8s.io/kubernetes/pkg/controller/job"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
)

func TestWorkloads(t *testing.T) {
	p, _ := cluster(t, hollownode.Config{Count: 3, JobDuration: time.Millisecond},
		controllers.Config{
			Controllers: []string{controllers.Workloads, controllers.Nodes},
			Customize: func(c *kubectrlmgrconfig.KubeControllerManagerConfiguration) {
				c.HPAController.HorizontalPodAutoscalerSyncPeriod.Duration = 100 * time.Millisecond
			},
		})
	t.Run("Deployment", func(t *testing.T) { testDeployment(t, p) })
	t.Run("DaemonSet", func(t *testing.T) { testDaemonSet(t, p) })
	t.Run("StatefulSet", func(t *testing.T) { testStatefulSet(t, p) })
	t.Run("Job", func(t *testing.T) { testJob(t, p) })
	t.Run("CronJob", func(t *testing.T) { testCronJob(t, p) })
	t.Run("ReplicationController", func(t *testing.T) { testReplicationController(t, p) })
	t.Run("HorizontalPodAutoscaler", func(t *testing.T) { testAutoscaler(t, p) })
	t.Run("ephemeral volume", func(t *testing.T) { testEphemeralVolume(t, p) })
}

// deploy creates a Deployment and waits until all its pods are available.
func deploy(t *testing.T, p plane, app string, replicas int32) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: meta(app), Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: selector(app), Template: template(app, "image:1"),
	}}
	if _, err := p.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	untilRolledOut(t, p, app)
}

func untilRolledOut(t *testing.T, p plane, app string) {
	t.Helper()
	testwait.Object(t, testwait.Named(p.AppsV1().RESTClient(), "deployments", "default", app), &appsv1.Deployment{}, func(d *appsv1.Deployment) bool {
		want := *d.Spec.Replicas
		return d.Status.ObservedGeneration >= d.Generation && d.Status.Replicas == want &&
			d.Status.UpdatedReplicas == want && d.Status.AvailableReplicas == want
	})
}

// A Deployment gets its pods, rolls out a new image, and rolls back to its first
// ReplicaSet.
func testDeployment(t *testing.T, p plane) {
	deploy(t, p, "web", 3)
	first := p.replicaSets(t, "web")
	if len(first) != 1 || *first[0].Spec.Replicas != 3 {
		t.Fatalf("ReplicaSets: %+v", first)
	}
	p.setImage(t, "web", "image:2")
	p.wantImages(t, "web", "image:2", 3)
	if sets := p.replicaSets(t, "web"); len(sets) != 2 {
		t.Errorf("got %d ReplicaSets after the rollout, want 2", len(sets))
	}
	p.setImage(t, "web", "image:1")
	p.wantImages(t, "web", "image:1", 3)
	sets := p.replicaSets(t, "web")
	back := slices.IndexFunc(sets, func(s appsv1.ReplicaSet) bool { return s.Name == first[0].Name })
	if len(sets) != 2 || back < 0 || *sets[back].Spec.Replicas != 3 {
		t.Errorf("got ReplicaSets %+v after the rollback", sets)
	}
}

func (p plane) setImage(t *testing.T, app, image string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":%q}]}}}}`, image)
	if _, err := p.AppsV1().Deployments("default").Patch(t.Context(), app, "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	untilRolledOut(t, p, app)
}

func (p plane) wantImages(t *testing.T, app, image string, count int) {
	t.Helper()
	pods := p.pods(t, app)
	if len(pods) != count {
		t.Errorf("got %d pods, want %d", len(pods), count)
	}
	for _, pod := range pods {
		if got := pod.Spec.Containers[0].Image; got != image {
			t.Errorf("%s: got image %s, want %s", pod.Name, got, image)
		}
	}
}

func (p plane) replicaSets(t *testing.T, app string) []appsv1.ReplicaSet {
	t.Helper()
	list, err := p.AppsV1().ReplicaSets("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// A DaemonSet has a pod on each node.
func testDaemonSet(t *testing.T, p plane) {
	ds := &appsv1.DaemonSet{ObjectMeta: meta("agent"), Spec: appsv1.DaemonSetSpec{
		Selector: selector("agent"), Template: template("agent", "image:1"),
	}}
	if _, err := p.AppsV1().DaemonSets("default").Create(t.Context(), ds, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.AppsV1().RESTClient(), "daemonsets", "default", "agent"), &appsv1.DaemonSet{}, func(ds *appsv1.DaemonSet) bool {
		return ds.Status.NumberReady == 3
	})
	var on []string
	for _, pod := range p.pods(t, "agent") {
		on = append(on, pod.Spec.NodeName)
	}
	slices.Sort(on)
	if !slices.Equal(on, []string{"node-0", "node-1", "node-2"}) {
		t.Errorf("pods are on %q", on)
	}
}

// The pods of a StatefulSet are created one after the other, and deleted in reverse
// order.
func testStatefulSet(t *testing.T, p plane) {
	watcher, stop := p.watchPods(t, "db")
	defer stop()
	set := &appsv1.StatefulSet{ObjectMeta: meta("db"), Spec: appsv1.StatefulSetSpec{
		ServiceName: "db", Replicas: new(int32(3)), Selector: selector("db"), Template: template("db", "image:1"),
	}}
	sets := p.AppsV1().StatefulSets("default")
	if _, err := sets.Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.AppsV1().RESTClient(), "statefulsets", "default", "db"), &appsv1.StatefulSet{}, func(s *appsv1.StatefulSet) bool {
		return s.Status.ReadyReplicas == 3
	})
	if _, err := sets.Patch(t.Context(), "db", "application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	note := func(what string) {
		if !slices.Contains(got, what) {
			got = append(got, what)
		}
	}
	for event := range watcher.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			t.Fatalf("watch: %+v", event)
		}
		switch {
		case event.Type == watch.Added:
			note("create " + pod.Name)
		case event.Type == watch.Deleted:
			note("gone " + pod.Name)
		case pod.DeletionTimestamp == nil && isReady(pod):
			note("ready " + pod.Name)
		}
		if slices.Contains(got, "gone db-0") {
			break
		}
	}
	want := []string{
		"create db-0", "ready db-0", "create db-1", "ready db-1", "create db-2", "ready db-2", "gone db-2", "gone db-1", "gone db-0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the order\n%q, want\n%q", got, want)
	}
}

func (p plane) watchPods(t *testing.T, app string) (watcher watch.Interface, stop func()) {
	t.Helper()
	lw := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		options.LabelSelector = "app=" + app
		return p.CoreV1().Pods("default").Watch(ctx, options)
	}}
	list, err := p.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err = watchtools.NewRetryWatcherWithContext(t.Context(), list.ResourceVersion, lw)
	if err != nil {
		t.Fatal(err)
	}
	return watcher, watcher.Stop
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// A Job completes, and is deleted after its TTL.
func testJob(t *testing.T, p plane) {
	if upstreamjob.SyncJobBatchPeriod >= time.Second {
		t.Errorf("changes of pods are collected for %s, as upstream", upstreamjob.SyncJobBatchPeriod)
	}
	pod := template("task", "image:1")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := &batchv1.Job{ObjectMeta: meta("task"), Spec: batchv1.JobSpec{Completions: new(int32(3)), Parallelism: new(int32(2)), Template: pod}}
	jobs := p.BatchV1().Jobs("default")
	if _, err := jobs.Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.BatchV1().RESTClient(), "jobs", "default", "task"), &batchv1.Job{}, func(job *batchv1.Job) bool {
		return job.Status.Succeeded == 3 && slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
			return c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue
		})
	})
	if _, err := jobs.Patch(t.Context(), "task", "application/merge-patch+json", []byte(`{"spec":{"ttlSecondsAfterFinished":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// The garbage collector deletes its pods first.
	testwait.True(t, "the Job is deleted", func() bool {
		job, err := jobs.Get(t.Context(), "task", metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && job.DeletionTimestamp != nil
	})
}

// A CronJob starts Jobs.
func testCronJob(t *testing.T, p plane) {
	pod := template("nightly", "image:1")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	cron := &batchv1.CronJob{ObjectMeta: meta("nightly"), Spec: batchv1.CronJobSpec{
		Schedule: "@every 1s", ConcurrencyPolicy: batchv1.ForbidConcurrent,
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: pod}},
	}}
	if _, err := p.BatchV1().CronJobs("default").Create(t.Context(), cron, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.BatchV1().RESTClient(), "cronjobs", "default", "nightly"), &batchv1.CronJob{}, func(c *batchv1.CronJob) bool {
		return c.Status.LastSuccessfulTime != nil
	})
	if err := p.BatchV1().CronJobs("default").Delete(t.Context(), "nightly", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func testReplicationController(t *testing.T, p plane) {
	pod := template("old", "image:1")
	rc := &corev1.ReplicationController{ObjectMeta: meta("old"), Spec: corev1.ReplicationControllerSpec{
		Replicas: new(int32(2)), Selector: labels("old"), Template: &pod,
	}}
	if _, err := p.CoreV1().ReplicationControllers("default").Create(t.Context(), rc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "replicationcontrollers", "default", "old"), &corev1.ReplicationController{}, func(rc *corev1.ReplicationController) bool {
		return rc.Status.ReadyReplicas == 2
	})
}

// Without a metrics server an autoscaler still enforces its limits.
func testAutoscaler(t *testing.T, p plane) {
	deploy(t, p, "scaled", 1)
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: meta("scaled"), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "scaled"},
		MinReplicas:    new(int32(2)), MaxReplicas: 3,
	}}
	if _, err := p.AutoscalingV2().HorizontalPodAutoscalers("default").Create(t.Context(), hpa, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.AppsV1().RESTClient(), "deployments", "default", "scaled"), &appsv1.Deployment{}, func(d *appsv1.Deployment) bool {
		return d.Status.AvailableReplicas == 2
	})
}

// The claim of an ephemeral volume is created with its pod, and is protected while the
// pod uses it.
func testEphemeralVolume(t *testing.T, p plane) {
	spec := template("scratch", "image:1").Spec
	spec.NodeName = "node-0" // a pod without a node does not count as a user
	spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantity("1Gi")}},
		}},
	}}}}
	if _, err := p.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{ObjectMeta: meta("scratch"), Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "persistentvolumeclaims", "default", "scratch-data"), &corev1.PersistentVolumeClaim{}, func(c *corev1.PersistentVolumeClaim) bool {
		return slices.Contains(c.Finalizers, "kubernetes.io/pvc-protection")
	})
	claims := p.CoreV1().PersistentVolumeClaims("default")
	if err := claims.Delete(t.Context(), "scratch-data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if claim, err := claims.Get(t.Context(), "scratch-data", metav1.GetOptions{}); err != nil || claim.DeletionTimestamp == nil {
		t.Errorf("a claim in use is not protected: %v, %v", claim, err)
	}
	if err := p.CoreV1().Pods("default").Delete(t.Context(), "scratch", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "the claim goes after its pod", func() bool {
		_, err := claims.Get(t.Context(), "scratch-data", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func (p plane) setReplicas(t *testing.T, app string, count int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, count)
	if _, err := p.AppsV1().Deployments("default").Patch(t.Context(), app, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
