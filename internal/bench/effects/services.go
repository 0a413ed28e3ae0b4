// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var services = []effect{
	{
		name:   "Service created → EndpointSlice with the pod",
		before: func(t *trial) { t.runPod("web") },
		try: func(t *trial) {
			w := t.watch(endpointSlices, "")
			t.begin()
			t.create(serviceResource, t.name, "spec: {selector: {app: web}, ports: [{port: 80}]}")
			w.until(t.hasEndpoint)
		},
	},
	{name: "pod of a Service created → in the EndpointSlice", try: func(t *trial) {
		t.create(serviceResource, t.name, "spec: {selector: {app: %s}, ports: [{port: 80}]}", t.name)
		w := t.watch(endpointSlices, "")
		w.until(t.ofService)
		t.begin()
		t.create(podResource, t.name, podBody, t.name, image)
		w.until(t.hasEndpoint)
		t.removed(podResource, t.name)
	}},
}

func (t *trial) ofService(o *unstructured.Unstructured) bool {
	return o.GetLabels()["kubernetes.io/service-name"] == t.name
}

func (t *trial) hasEndpoint(o *unstructured.Unstructured) bool {
	endpoints, _, _ := unstructured.NestedSlice(o.Object, "endpoints")
	return t.ofService(o) && slices.ContainsFunc(endpoints, func(e any) bool {
		endpoint, _ := e.(map[string]any)
		ready, _, _ := unstructured.NestedBool(endpoint, "conditions", "ready")
		return ready
	})
}

var disruptions = []effect{{
	name:   "PodDisruptionBudget created → status",
	before: func(t *trial) { t.deploy("web", 3) },
	try: func(t *trial) {
		w := t.watch(budgets, t.name)
		t.begin()
		t.create(budgets, t.name, "spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}")
		w.until(func(o *unstructured.Unstructured) bool {
			return number(o, "status", "observedGeneration") == 1 && number(o, "status", "disruptionsAllowed") == 1
		})
	},
}}
