// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const completions = 5

var jobs = []effect{
	{name: "Job of 5 created → 5 pods active", try: func(t *trial) {
		w := t.watch(jobResource, t.name)
		t.begin()
		t.createJob(completions, jobTemplate(t.name, ""))
		w.until(func(o *unstructured.Unstructured) bool { return number(o, "status", "active") == completions })
		t.removed(jobResource, t.name)
	}},
	{name: "Job of 5, pods succeeded → complete", try: func(t *trial) {
		w := t.runJob(completions)
		t.begin()
		t.succeed()
		w.until(func(o *unstructured.Unstructured) bool { return condition(o, "Complete") })
		t.removed(jobResource, t.name)
	}},
	{name: "TTL of a finished Job set to 0 → gone", try: func(t *trial) {
		w := t.runJob(1)
		t.succeed()
		w.until(func(o *unstructured.Unstructured) bool { return condition(o, "Complete") })
		t.begin()
		t.patch(jobResource, t.name, "spec: {ttlSecondsAfterFinished: 0}")
		w.deleted()
	}},
}

func (t *trial) createJob(pods int64, template string) {
	t.create(jobResource, t.name, "spec: {completions: %d, parallelism: %[1]d, template: %s}", pods, template)
}

// runJob creates a Job whose pods are on a node that only the trial plays: kubemark's
// would overwrite that they have succeeded.
func (t *trial) runJob(pods int64) *watched {
	t.create(nodes, t.user(), "")
	w := t.watch(jobResource, t.name)
	t.createJob(pods, jobTemplate(t.name, "nodeName: "+t.user()+", "))
	w.until(func(o *unstructured.Unstructured) bool { return number(o, "status", "active") == pods })
	return w
}

// succeed ends the pods of the Job as their node does.
func (t *trial) succeed() {
	if t.err != nil {
		return
	}
	pods, err := t.of(podResource, t.namespace).List(t.ctx, metav1.ListOptions{LabelSelector: "app=" + t.name})
	if err != nil {
		t.fail(fmt.Errorf("list the pods of the Job: %w", err))
		return
	}
	for _, pod := range pods.Items {
		t.patch(podResource, pod.GetName(), "status: {phase: Succeeded}", "status")
	}
}

var cronJobEffects = []effect{{
	// It takes a minute.
	name: "minute of a CronJob → its Job", every: 15,
	try: func(t *trial) {
		w := t.watch(jobResource, "")
		t.create(cronJobs, t.name, `spec: {schedule: "* * * * *", jobTemplate: {spec: {template: %s}}}`, jobTemplate(t.name, ""))
		var name string
		w.until(func(o *unstructured.Unstructured) bool {
			scheduled, err := time.Parse(time.RFC3339, o.GetAnnotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"])
			if err != nil {
				return false
			}
			name, t.began = o.GetName(), scheduled
			return true
		})
		t.patch(cronJobs, t.name, "spec: {suspend: true}")
		t.removed(jobResource, name)
	},
}}
