// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// podTemplate is a pod of a workload. The annotation is for our simulated nodes, on which
// pods of a Job would end otherwise; kubemark's never end.
const podTemplate = `{
  metadata: {labels: {app: %s}, annotations: {hollownode.kubembed.dev/run-for: forever}},
  spec: {containers: [{name: main, image: %q}]}}`

const (
	image    = "registry.example.com/web:v1"
	newImage = "registry.example.com/web:v2"
)

func template(app, image string) string { return fmt.Sprintf(podTemplate, app, image) }

// jobTemplate is the same pod of a Job, with more of its spec.
func jobTemplate(app, more string) string {
	return fmt.Sprintf(`{
  metadata: {labels: {app: %s}, annotations: {hollownode.kubembed.dev/run-for: forever}},
  spec: {%srestartPolicy: Never, containers: [{name: main, image: %q}]}}`, app, more, image)
}

const podBody = `
metadata: {labels: {app: %s}}
spec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: %q}]}`

func running(o *unstructured.Unstructured) bool { return text(o, "status", "phase") == "Running" }

// runPod creates a pod and waits until it is ready.
func (t *trial) runPod(name string) {
	pod := t.watch(podResource, name)
	t.create(podResource, name, podBody, name, image)
	pod.until(func(o *unstructured.Unstructured) bool { return running(o) && condition(o, "Ready") })
}

var pods = []effect{
	{name: "pod created → scheduled", try: podUntil(func(o *unstructured.Unstructured) bool {
		return text(o, "spec", "nodeName") != ""
	})},
	{name: "pod created → Running", try: podUntil(running)},
}

func podUntil(condition func(*unstructured.Unstructured) bool) func(*trial) {
	return func(t *trial) {
		pod := t.watch(podResource, t.name)
		t.begin()
		t.create(podResource, t.name, podBody, t.name, image)
		pod.until(condition)
		t.removed(podResource, t.name)
	}
}

// available reports whether a Deployment has rolled out n replicas.
func available(n int64) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool {
		return number(o, "status", "observedGeneration") == o.GetGeneration() &&
			number(o, "status", "replicas") == n &&
			number(o, "status", "updatedReplicas") == n &&
			number(o, "status", "availableReplicas") == n
	}
}

// running waits until n pods run an image. It goes beside the status of a workload:
// kubemark's pods are ready before they run, unlike a kubelet's.
func (w *watched) running(n int64, image string) {
	pods := map[string]bool{}
	w.wait(func(event watch.EventType, o *unstructured.Unstructured) bool {
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "containers")
		pods[o.GetName()] = event != watch.Deleted && o.GetDeletionTimestamp() == nil && running(o) &&
			slices.ContainsFunc(containers, func(c any) bool {
				container, _ := c.(map[string]any)
				return container["image"] == image
			})
		var all int64
		for _, is := range pods {
			if is {
				all++
			}
		}
		return all == n
	})
}

// deploy creates a Deployment and waits until it is available.
func (t *trial) deploy(name string, replicas int64) {
	w, pods := t.watch(deployments, name), t.watchPods(name)
	t.begin()
	t.create(deployments, name, "spec: {replicas: %d, selector: {matchLabels: {app: %s}}, template: %s}", replicas, name, template(name, image))
	w.until(available(replicas))
	pods.running(replicas, image)
}

// deployed is deploy without a pause, for a trial of a change.
func (t *trial) deployed(name string, replicas int64) {
	pause := t.pause
	t.pause = 0
	t.deploy(name, replicas)
	t.pause = pause
}

// changeDeployment measures a change of a Deployment.
func changeDeployment(patch string, replicas int64, image string) func(*trial) {
	return func(t *trial) {
		t.deployed(t.name, 3)
		w, pods := t.watch(deployments, t.name), t.watchPods(t.name)
		t.begin()
		changed := t.patch(deployments, t.name, patch)
		w.until(func(o *unstructured.Unstructured) bool {
			return o.GetGeneration() >= changed.GetGeneration() && available(replicas)(o)
		})
		pods.running(replicas, image)
		t.removed(deployments, t.name)
	}
}

var workloads = []effect{
	{name: "Deployment of 3 created → available", try: func(t *trial) {
		t.deploy(t.name, 3)
		t.removed(deployments, t.name)
	}},
	{name: "Deployment of 3, new image → rolled out", try: changeDeployment(
		fmt.Sprintf("spec: {template: {spec: {containers: [{name: main, image: %q}]}}}", newImage), 3, newImage)},
	{name: "Deployment scaled from 3 to 5 → available", try: changeDeployment("spec: {replicas: 5}", 5, image)},
	{name: "StatefulSet of 3 created → ready", try: func(t *trial) {
		w, pods := t.watch(statefulSets, t.name), t.watchPods(t.name)
		t.begin()
		t.create(statefulSets, t.name, "spec: {replicas: 3, serviceName: none, selector: {matchLabels: {app: %s}}, template: %s}", t.name, template(t.name, image))
		w.until(func(o *unstructured.Unstructured) bool { return number(o, "status", "readyReplicas") == 3 })
		pods.running(3, image)
		t.removed(statefulSets, t.name)
	}},
	{name: "DaemonSet created → ready", try: func(t *trial) {
		w, pods := t.watch(daemonSets, t.name), t.watchPods(t.name)
		t.begin()
		t.create(daemonSets, t.name, "spec: {selector: {matchLabels: {app: %s}}, template: %s}", t.name, template(t.name, image))
		w.until(func(o *unstructured.Unstructured) bool {
			return number(o, "status", "desiredNumberScheduled") > 0 &&
				number(o, "status", "numberReady") == number(o, "status", "desiredNumberScheduled")
		})
		pods.running(1, image)
		t.removed(daemonSets, t.name)
	}},
}
