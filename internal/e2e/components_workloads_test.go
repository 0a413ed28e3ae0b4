// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kubembed/kubembed/internal/testwait"
)

// deployment rolls out the Deployment web, with a pod on each node.
func (c cluster) deployment(t *testing.T) {
	rolledOut := func(image string) {
		t.Helper()
		want(t, c.ok(t, "rollout", "status", "deployment/web", "--timeout=60s"), `deployment "web" successfully rolled out`)
		testwait.Until(t, "three pods of "+image, func(context.Context) error {
			images := c.list(t, "{.items[*].spec.containers[*].image}", "pods", "-l", "app=web")
			return unless(slices.Equal(images, []string{image, image, image}), images)
		})
	}
	c.ok(t, "create", "deployment", "web", "--image=nginx:1", "--replicas=3", "--port=80")
	c.ok(t, "wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
	rolledOut("nginx:1")
	c.wantOnePerNode(t, "web")
	wantIs(t, squeeze(c.ok(t, "get", "deployment", "web", "-o", "jsonpath={.status.replicas} {.status.readyReplicas} {.status.availableReplicas}")), "3 3 3")

	c.ok(t, "set", "image", "deployment/web", "nginx=nginx:2")
	rolledOut("nginx:2")
	c.ok(t, "rollout", "undo", "deployment/web")
	rolledOut("nginx:1")
	// The rollback reuses the earlier revision.
	wantIs(t, squeeze(c.ok(t, "rollout", "history", "deployment/web")), "deployment.apps/web REVISION CHANGE-CAUSE 2 <none> 3 <none>")
	if sets := c.list(t, "{.items[*].spec.replicas}", "replicasets", "-l", "app=web"); !slices.Equal(sets, []string{"0", "3"}) {
		t.Errorf("the ReplicaSets have %v pods", sets)
	}
}

// service creates the Service of web and waits for its endpoints.
func (c cluster) service(t *testing.T) {
	c.ok(t, "expose", "deployment", "web", "--port=80")
	ips := c.list(t, "{.items[*].status.podIP}", "pods", "-l", "app=web")
	if len(ips) != 3 {
		t.Fatalf("pod addresses %v", ips)
	}
	testwait.Until(t, fmt.Sprintf("%v in an EndpointSlice", ips), func(context.Context) error {
		endpoints := c.list(t, "{.items[*].endpoints[?(@.conditions.ready==true)].addresses[*]}", "endpointslices", "-l", "kubernetes.io/service-name=web")
		return unless(slices.Equal(endpoints, ips), endpoints)
	})
	c.ok(t, "scale", "deployment", "web", "--replicas=2")
	testwait.Until(t, "two addresses", func(context.Context) error {
		endpoints := c.list(t, "{.items[*].endpoints[*].addresses[*]}", "endpointslices", "-l", "kubernetes.io/service-name=web")
		return unless(len(endpoints) == 2, endpoints)
	})
	c.ok(t, "scale", "deployment", "web", "--replicas=3")
	c.ok(t, "rollout", "status", "deployment/web", "--timeout=60s")
}

func (c cluster) job(t *testing.T) {
	c.okStdin(t, `apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  completions: 4
  parallelism: 2
  template:
    metadata:
      annotations: {hollownode.kubembed.dev/run-for: 100ms, hollownode.kubembed.dev/log: the sum is 42}
    spec:
      restartPolicy: Never
      containers: [{name: sum, image: "sum:v1"}]
`, "apply", "-f", "-")
	c.ok(t, "wait", "--for=condition=Complete", "job/sum", "--timeout=60s")
	wantIs(t, c.ok(t, "get", "job", "sum", "-o", "jsonpath={.status.succeeded}"), "4")
	if phases := c.list(t, "{.items[*].status.phase}", "pods", "-l", "job-name=sum"); !slices.Equal(phases, slices.Repeat([]string{"Succeeded"}, 4)) {
		t.Errorf("its pods are %v", phases)
	}
	want(t, c.ok(t, "logs", "job/sum"), "the sum is 42")
	// The garbage collector deletes the pods of a Job with it.
	c.ok(t, "delete", "job", "sum")
	c.ok(t, "wait", "--for=delete", "pods", "-l", "job-name=sum", "--timeout=60s")
}

func (c cluster) daemonSet(t *testing.T) {
	c.ok(t, "cordon", "node-1") // ignored by DaemonSets
	c.ok(t, "apply", "-f", "testdata/workloads.yaml")
	c.ok(t, "rollout", "status", "daemonset/agent", "--timeout=60s")
	c.wantOnePerNode(t, "agent")
	c.ok(t, "uncordon", "node-1")
}

// statefulSet scales a StatefulSet: each pod starts when the one before is ready, and
// ends when the one after it is gone.
func (c cluster) statefulSet(t *testing.T) {
	c.ok(t, "rollout", "status", "statefulset/db", "--timeout=60s")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := c.client(t).CoreV1().Pods("default")
	list, err := client.List(ctx, metav1.ListOptions{LabelSelector: "app=db"})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := client.Watch(ctx, metav1.ListOptions{LabelSelector: "app=db", ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer pods.Stop()

	c.ok(t, "scale", "statefulset", "db", "--replicas=3")
	wantOrder(t, pods, "db-1 is there", "db-1 is ready", "db-2 is there", "db-2 is ready")
	wantIs(t, c.ok(t, "get", "pod", "db-2", "-o", "jsonpath={.spec.hostname}.{.spec.subdomain}"), "db-2.db")
	c.ok(t, "scale", "statefulset", "db", "--replicas=1")
	wantOrder(t, pods, "db-2 ends", "db-2 is gone", "db-1 ends", "db-1 is gone")
	wantIs(t, c.ok(t, "get", "pods", "-l", "app=db", "-o", "name"), "pod/db-0")
}

// wantOrder reads events until it has seen as many changes as expected.
func wantOrder(t *testing.T, pods watch.Interface, order ...string) {
	t.Helper()
	var seen []string
	for event := range pods.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			t.Fatalf("got %v after %q", event, seen)
		}
		change := ""
		switch {
		case event.Type == watch.Added:
			change = "is there"
		case event.Type == watch.Deleted:
			change = "is gone"
		case pod.DeletionTimestamp != nil:
			change = "ends"
		case running(pod):
			change = "is ready"
		}
		if change = pod.Name + " " + change; !strings.HasSuffix(change, " ") && !slices.Contains(seen, change) {
			seen = append(seen, change)
		}
		if len(seen) == len(order) {
			break
		}
	}
	if !slices.Equal(seen, order) {
		t.Errorf("got %q, want %q", seen, order)
	}
}

func (c cluster) namespace(t *testing.T) {
	c.ok(t, "create", "namespace", "x")
	for _, object := range [][]string{
		{"service", "clusterip", "web", "--tcp=80"},
		{"configmap", "settings", "--from-literal=a=b"},
		{"secret", "generic", "password", "--from-literal=a=b"},
		{"serviceaccount", "robot"},
		{"role", "reader", "--verb=get", "--resource=pods"},
		{"rolebinding", "reader", "--role=reader", "--serviceaccount=x:robot"},
		{"poddisruptionbudget", "web", "--selector=app=movable", "--min-available=3"},
		{"quota", "pods", "--hard=pods=10"},
		{"cronjob", "nightly", "--image=nginx:1", "--schedule=0 0 * * *"},
	} {
		c.ok(t, append([]string{"create", "--namespace=x"}, object...)...)
	}
	c.ok(t, "apply", "-f", "testdata/movable.yaml", "--namespace=x")
	c.ok(t, "rollout", "status", "deployment/movable", "--namespace=x", "--timeout=60s")
	testwait.Until(t, "the quota in use", func(context.Context) error {
		used := c.ok(t, "get", "quota", "pods", "--namespace=x", "-o", "jsonpath={.status.used.pods}")
		return unless(used == "3", used)
	})
	wantIs(t, c.ok(t, "delete", "namespace", "x", "--timeout=60s"), `namespace "x" deleted`)
	c.fails(t, "", `namespaces "x" not found`, "get", "namespace", "x")
	for _, kind := range []string{"pods", "deployments", "replicasets", "services", "configmaps", "secrets", "serviceaccounts", "endpointslices", "events"} {
		wantIs(t, c.ok(t, "get", kind, "--namespace=x", "-o", "name"), "")
	}
}
