// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/testwait"
)

// drain moves the pods of web off node-1.
func (c cluster) drain(t *testing.T) {
	c.ok(t, "create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=3")
	c.ok(t, "wait", "--for=jsonpath={.status.currentHealthy}=3", "poddisruptionbudget/web", "--timeout=60s")
	pod := c.podOn(t, "web", "node-1")
	c.fails(t, "", "Cannot evict pod as it would violate the pod's disruption budget", "drain", "node-1", "--timeout=2s")
	wantIs(t, c.ok(t, "get", pod, "-o", "jsonpath={.spec.nodeName} {.status.phase} {.metadata.deletionTimestamp}"), "node-1 Running")

	c.ok(t, "patch", "poddisruptionbudget", "web", "--type=merge", "-p", `{"spec":{"minAvailable":2}}`)
	c.ok(t, "wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "poddisruptionbudget/web", "--timeout=60s")
	want(t, c.ok(t, "drain", "node-1", "--timeout=60s"), "node/node-1 drained")
	c.fails(t, "", "not found", "get", pod)
	c.ok(t, "rollout", "status", "deployment/web", "--timeout=60s")
	if nodes := c.podNodes(t, "web"); len(nodes) != 3 || slices.Contains(nodes, "node-1") {
		t.Errorf("the pods of web are on %v", nodes)
	}
	c.ok(t, "delete", "poddisruptionbudget", "web")
	c.ok(t, "uncordon", "node-1")
}

// deadNode kills node-2, and starts it again.
func (c cluster) deadNode(t *testing.T) {
	c.ok(t, "apply", "-f", "testdata/movable.yaml")
	c.ok(t, "rollout", "status", "deployment/movable", "--timeout=60s")
	c.wantOnePerNode(t, "movable")
	pod, agent := c.podOn(t, "movable", "node-2"), c.podOn(t, "agent", "node-2")
	uid := c.ok(t, "get", pod, "-o", "jsonpath={.metadata.uid}")
	if err := c.nodes.Kill("node-2"); err != nil {
		t.Fatal(err)
	}
	c.ok(t, "wait", "--for=condition=Ready=Unknown", "node/node-2", "--timeout=60s")
	if row := table(t, c.ok(t, "get", "node", "node-2"))[0]; row["STATUS"] != "NotReady" {
		t.Errorf("got %v", row)
	}
	testwait.Until(t, "the pod evicted", func(context.Context) error {
		out := c.ok(t, "get", pod, "-o", "jsonpath={.metadata.deletionTimestamp} {.status.conditions[?(@.type=='DisruptionTarget')].reason}")
		return unless(strings.HasSuffix(out, "Z DeletionByTaintManager"), out)
	})
	testwait.Until(t, "three pods on the other nodes", func(context.Context) error {
		nodes := c.list(t, "{.items[?(@.status.phase=='Running')].spec.nodeName}", "pods", "-l", "app=movable")
		return unless(strings.Count(strings.Join(nodes, " "), "node-0")+strings.Count(strings.Join(nodes, " "), "node-1") == 3, nodes)
	})
	c.ok(t, "wait", "--for=jsonpath={.status.availableReplicas}=3", "deployment/movable", "--timeout=60s")
	// Pods of a DaemonSet tolerate the taint. Pods without a toleration tolerate it for
	// five minutes.
	wantIs(t, c.ok(t, "get", agent, "-o", "jsonpath={.metadata.deletionTimestamp}"), "")

	// Only the node can confirm the end of the pod.
	wantIs(t, c.ok(t, "get", pod, "-o", "jsonpath={.metadata.uid}"), uid)
	if err := c.nodes.Revive("node-2"); err != nil {
		t.Fatal(err)
	}
	c.ok(t, "wait", "--for=delete", pod, "--timeout=60s")
	c.ok(t, "wait", "--for=condition=Ready", "node/node-2", "--timeout=60s")
	testwait.Until(t, "no taint", func(context.Context) error {
		taints := c.ok(t, "get", "node", "node-2", "-o", "jsonpath={.spec.taints}")
		return unless(taints == "", taints)
	})
}

// podOn returns the pod of an app on a node, as pod/NAME.
func (c cluster) podOn(t *testing.T, app, node string) string {
	t.Helper()
	pods := strings.Fields(c.ok(t, "get", "pods", "-l", "app="+app, "--field-selector=spec.nodeName="+node, "-o", "name"))
	if len(pods) != 1 {
		t.Fatalf("got pods %[3]v of %[1]s on %[2]s, want one", app, node, pods)
	}
	return pods[0]
}
