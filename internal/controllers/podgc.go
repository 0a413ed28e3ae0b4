// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	apipod "k8s.io/kubernetes/pkg/api/v1/pod"
	nodeutil "k8s.io/kubernetes/pkg/util/node"
	utilpod "k8s.io/kubernetes/pkg/util/pod"
	"k8s.io/kubernetes/pkg/util/taints"
)

// Constants of upstream's pod garbage collector.
const (
	podGCPeriod = 20 * time.Second
	// nodeQuarantine is the time for which a node is missing before a live read.
	nodeQuarantine = 40 * time.Second
	// terminatedPods is the number of terminated pods to keep.
	terminatedPods = 12500
	// evicted is the kubelet's reason of evicted pods.
	evicted = "Evicted"
)

// podCollector deletes pods that no kubelet deletes: pods on deleted nodes, deleted pods
// on nodes that are out of service or on no node, and the oldest terminated pods above
// the limit. It behaves like k8s.io/kubernetes/pkg/controller/podgc.
type podCollector struct {
	client     kubernetes.Interface
	pods       corelisters.PodLister
	nodes      corelisters.NodeLister
	quarantine time.Duration
	terminated int
	missing    map[string]time.Time // nodes, and since when
}

func newPodCollector(client kubernetes.Interface, pods corelisters.PodLister, nodes corelisters.NodeLister) *podCollector {
	return &podCollector{client: client, pods: pods, nodes: nodes,
		quarantine: nodeQuarantine, terminated: terminatedPods, missing: map[string]time.Time{}}
}

func (c *podCollector) run(ctx context.Context) { wait.UntilWithContext(ctx, c.collect, podGCPeriod) }

func (c *podCollector) collect(ctx context.Context) {
	pods, err := c.pods.List(labels.Everything())
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Listing pods")
		return
	}
	gone := c.goneNodes(ctx, pods)
	var terminated []*corev1.Pod
	for _, pod := range pods {
		switch node := pod.Spec.NodeName; {
		case pod.DeletionTimestamp != nil && (node == "" || c.outOfService(node)):
			c.delete(ctx, pod, nil)
		case gone[node]:
			c.delete(ctx, pod, &corev1.PodCondition{
				Type:               corev1.DisruptionTarget,
				ObservedGeneration: apipod.CalculatePodConditionObservedGeneration(&pod.Status, pod.Generation, corev1.DisruptionTarget),
				Status:             corev1.ConditionTrue,
				Reason:             "DeletionByPodGC",
				Message:            "PodGC: node no longer exists",
			})
		case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
			terminated = append(terminated, pod)
		}
	}
	if more := len(terminated) - c.terminated; more > 0 {
		slices.SortFunc(terminated, evictedAndOldestFirst)
		for _, pod := range terminated[:more] {
			c.delete(ctx, pod, nil)
		}
	}
}

// goneNodes returns the nodes of pods that have been missing for the quarantine, and that
// a live read does not find.
func (c *podCollector) goneNodes(ctx context.Context, pods []*corev1.Pod) map[string]bool {
	missing, gone := map[string]time.Time{}, map[string]bool{}
	for _, pod := range pods {
		name := pod.Spec.NodeName
		if _, known := missing[name]; known || name == "" {
			continue
		}
		if _, err := c.nodes.Get(name); !apierrors.IsNotFound(err) {
			continue
		}
		since, before := c.missing[name]
		if !before {
			since = time.Now()
		}
		missing[name] = since
		if !before || time.Since(since) < c.quarantine {
			continue
		}
		if _, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			gone[name] = true
		}
	}
	c.missing = missing
	return gone
}

// outOfService reports whether an operator has tainted the node as out of service.
func (c *podCollector) outOfService(name string) bool {
	node, err := c.nodes.Get(name)
	return err == nil && !nodeutil.IsNodeReady(node) && taints.TaintKeyExists(node.Spec.Taints, corev1.TaintNodeOutOfService)
}

// delete deletes a pod without the confirmation of a kubelet. A pod that has not
// terminated becomes Failed first, because controllers count terminated pods.
func (c *podCollector) delete(ctx context.Context, pod *corev1.Pod, condition *corev1.PodCondition) {
	klog.FromContext(ctx).Info("PodGC is force deleting Pod", "pod", klog.KObj(pod))
	if err := c.failAndDelete(ctx, pod, condition); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Collecting pod", "pod", klog.KObj(pod))
	}
}

func (c *podCollector) failAndDelete(ctx context.Context, pod *corev1.Pod, condition *corev1.PodCondition) error {
	if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		status := pod.Status.DeepCopy()
		status.Phase = corev1.PodFailed
		status.ObservedGeneration = apipod.CalculatePodStatusObservedGeneration(pod)
		if condition != nil {
			apipod.UpdatePodCondition(status, condition)
		}
		if _, _, _, err := utilpod.PatchPodStatus(ctx, c.client, pod.Namespace, pod.Name, pod.UID, pod.Status, *status); err != nil {
			return fmt.Errorf("status: %w", err)
		}
	}
	return c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0))
}

// evictedAndOldestFirst is the order in which terminated pods are deleted.
func evictedAndOldestFirst(a, b *corev1.Pod) int {
	isEvicted := func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodFailed && pod.Status.Reason == evicted
	}
	if isEvicted(a) != isEvicted(b) {
		if isEvicted(a) {
			return -1
		}
		return 1
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}
