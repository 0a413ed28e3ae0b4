// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// nodeEffects happen to a node that only the trial plays. The grace period after which a
// silent node is dead would measure a setting of 50 seconds.
var nodeEffects = []effect{
	{name: "node reports that it is not ready → its pod evicted", try: func(t *trial) {
		pod := t.playNode()
		t.begin()
		t.patch(nodes, t.user(), nodeStatus("False"), "status")
		pod.until(evicted)
	}},
	{name: "node tainted NoExecute → its pod evicted", try: func(t *trial) {
		pod := t.playNode()
		t.begin()
		t.patch(nodes, t.user(), "spec: {taints: [{key: effects, effect: NoExecute}]}")
		pod.until(evicted)
	}},
}

func evicted(o *unstructured.Unstructured) bool { return o.GetDeletionTimestamp() != nil }

func nodeStatus(ready string) string {
	return `status: {conditions: [{type: Ready, status: "` + ready + `", reason: Bench, message: ""}]}`
}

// playNode creates a node, and a pod on it that does not tolerate its failure for a
// second. It returns a watch of the pod.
func (t *trial) playNode() *watched {
	node := t.watch(nodes, t.user())
	t.create(nodes, t.user(), "")
	t.patch(nodes, t.user(), nodeStatus("True"), "status")
	// The node lifecycle controller takes the taint away.
	node.until(func(o *unstructured.Unstructured) bool {
		taints, _, _ := unstructured.NestedSlice(o.Object, "spec", "taints")
		return condition(o, "Ready") && len(taints) == 0
	})
	pod := t.watch(podResource, t.name)
	t.create(podResource, t.name, `
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 30
  containers: [{name: main, image: %q}]
  tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}`, t.user(), image)
	pod.exists()
	return pod
}
