// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"

	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// cluster is a control plane with all components and its nodes.
type cluster struct {
	plane
	*kubectl
	nodes *hollownode.Nodes
	log   *journal
}

// startCluster starts a cluster of three simulated nodes, in which a node counts as
// dead after seconds instead of a minute.
func startCluster(t *testing.T) cluster {
	t.Helper()
	nodes := hollownode.New(hollownode.Config{Count: 3, LeaseDuration: 2 * time.Second})
	log, logger := newJournal()
	p, _ := startServer(t, controlplane.Config{Logger: logger, Components: []controlplane.Component{
		controllers.New(controllers.Config{Customize: func(c *kubectrlmgrconfig.KubeControllerManagerConfiguration) {
			c.NodeLifecycleController.NodeMonitorPeriod.Duration = 200 * time.Millisecond
			c.NodeLifecycleController.NodeMonitorGracePeriod.Duration = 6 * time.Second
		}}),
		nodes,
		scheduler.New(scheduler.Config{}),
	}})
	return cluster{p, p.kubectl(t), nodes, log}
}

// TestComponents uses a cluster with all components through kubectl.
func TestComponents(t *testing.T) {
	c := startCluster(t)
	step(t, "nodes and readiness", func(t *testing.T) {
		wantNodes(t, c.kubectl, c.nodes.Names()...)
		for _, name := range []string{"controllers", "hollownode", "scheduler"} {
			wantIs(t, c.ok(t, "get", "--raw", "/readyz/component/"+name), "ok")
		}
	})
	step(t, "a Deployment rolls out and back", c.deployment)
	step(t, "a Service gets endpoints", c.service)
	step(t, "kubectl drain respects a PodDisruptionBudget", c.drain)
	step(t, "a Job completes", c.job)
	step(t, "a DaemonSet covers all nodes", c.daemonSet)
	step(t, "a StatefulSet scales in order", c.statefulSet)
	step(t, "a namespace is deleted", c.namespace)
	step(t, "the log has no warning", func(t *testing.T) { c.log.wantNoWarnings(t) })
	step(t, "the pods of a dead node are evicted", c.deadNode)
	if !strings.Contains(c.log.text(t, zapcore.WarnLevel), "node is not ready any more") {
		t.Error("the log has no warning about the dead node")
	}
}

// list returns the sorted words that jsonpath selects from the result of kubectl get.
func (c cluster) list(t *testing.T, jsonpath string, args ...string) []string {
	t.Helper()
	items := strings.Fields(c.ok(t, append([]string{"get", "-o", "jsonpath=" + jsonpath}, args...)...))
	slices.Sort(items)
	return items
}

// podNodes returns the sorted nodes of the pods of an app.
func (c cluster) podNodes(t *testing.T, app string) []string {
	t.Helper()
	return c.list(t, "{.items[*].spec.nodeName}", "pods", "-l", "app="+app)
}

// wantOnePerNode requires one pod of the app on each node.
func (c cluster) wantOnePerNode(t *testing.T, app string) {
	t.Helper()
	if nodes := c.podNodes(t, app); !slices.Equal(nodes, c.nodes.Names()) {
		t.Errorf("the pods of %s are on %v, want one on each of %v", app, nodes, c.nodes.Names())
	}
}

// TestSchedulerForKubelets: a pod without nodeName stays Pending until the control
// plane runs a scheduler.
func TestSchedulerForKubelets(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir()}
	p, server := startServer(t, cfg)
	w := startWorker(t, p, "worker1")
	k := p.kubectl(t)
	// The test removes the taint that a cloud's controller would remove.
	k.ok(t, "taint", "nodes", "worker1", "node.cloudprovider.kubernetes.io/uninitialized-")
	k.ok(t, "apply", "-f", nginxUnbound)
	// A later pod runs, so worker1 had the time to run the earlier one.
	k.ok(t, "run", "later", "--image=nginx:latest", `--overrides={"spec":{"nodeName":"worker1"}}`)
	k.ok(t, "wait", "--for=jsonpath={.status.phase}=Running", "pod/later", "--timeout=60s")
	wantIs(t, k.ok(t, "get", "pod", "nginx-unbound", "-o", "jsonpath={.status.phase},{.spec.nodeName}"), "Pending,")

	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.BindAddress = address(t, p)
	cfg.Components = []controlplane.Component{scheduler.New(scheduler.Config{})}
	p, _ = startServer(t, cfg)
	k = p.kubectl(t)
	waitPod(t, p.client(t), "nginx-unbound", running)
	wantPod(t, k, "nginx-unbound", "worker1")
	wantContainers(t, w, "later/later", "nginx-unbound/nginx")
	wantIs(t, k.ok(t, "get", "events", "--field-selector=reason=Scheduled", "-o", "jsonpath={.items[*].reportingComponent}"), "default-scheduler")
	want(t, k.ok(t, "describe", "pod", "nginx-unbound"), "Successfully assigned default/nginx-unbound to worker1")
}
