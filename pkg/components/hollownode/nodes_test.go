// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode_test

import (
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func ready(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func TestRegister(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	taint := corev1.Taint{Key: "example.com/dedicated", Value: "x", Effect: corev1.TaintEffectNoSchedule}
	p.run(t, hollownode.New(hollownode.Config{
		Count:    3,
		Labels:   map[string]string{"zone": "a"},
		Taints:   []corev1.Taint{taint},
		Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")},
	}))
	nodes, err := p.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) != 3 {
		t.Fatalf("got %d nodes, want 3", len(nodes.Items))
	}
	version, err := p.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		if !ready(&node) {
			t.Errorf("%s is not Ready: %v", node.Name, node.Status.Conditions)
		}
		if len(node.Spec.Taints) != 1 || node.Spec.Taints[0] != taint {
			t.Errorf("%s has taints %v", node.Name, node.Spec.Taints)
		}
		if node.Labels["zone"] != "a" || node.Labels[corev1.LabelHostname] != node.Name {
			t.Errorf("%s has labels %v", node.Name, node.Labels)
		}
		if cpu, pods := node.Status.Allocatable.Cpu(), node.Status.Allocatable.Pods(); cpu.Value() != 4 || pods.Value() != 110 {
			t.Errorf("%s has %v CPUs and %v pods", node.Name, cpu, pods)
		}
		if node.Status.NodeInfo.KubeletVersion != version.GitVersion {
			t.Errorf("kubelet %s, control plane %s", node.Status.NodeInfo.KubeletVersion, version.GitVersion)
		}
		lease, err := p.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), node.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if *lease.Spec.HolderIdentity != node.Name || *lease.Spec.LeaseDurationSeconds != 40 || lease.OwnerReferences[0].UID != node.UID {
			t.Errorf("lease %v of %v", lease.Spec, lease.OwnerReferences)
		}
	}
}

// untilRenewed waits until the lease of a node is renewed.
func untilRenewed(t *testing.T, p plane, name string) {
	t.Helper()
	var first *metav1.MicroTime
	leases := testwait.Named(p.CoordinationV1().RESTClient(), "leases", corev1.NamespaceNodeLease, name)
	testwait.Object(t, leases, &coordinationv1.Lease{}, func(l *coordinationv1.Lease) bool {
		if first == nil {
			first = l.Spec.RenewTime
		}
		return l.Spec.RenewTime.After(first.Time)
	})
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{Count: 2, LeaseDuration: time.Second}))
	untilRenewed(t, p, "node-0")
	untilRenewed(t, p, "node-1")

	// The renewals continue after another client has deleted or modified the lease.
	leases := p.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if err := leases.Delete(t.Context(), "node-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	untilRenewed(t, p, "node-0")
	patch := []byte(`{"metadata":{"labels":{"touched":"true"}}}`)
	if _, err := leases.Patch(t.Context(), "node-0", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	untilRenewed(t, p, "node-0")
}

func TestNodeMarkedNotReadyReportsReady(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{}))
	node, err := p.CoreV1().Nodes().Get(t.Context(), "node-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range node.Status.Conditions {
		node.Status.Conditions[i].Status = corev1.ConditionUnknown
	}
	if _, err := p.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.untilReady(t, "node-0")
}

func TestKillAndRevive(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	nodes := hollownode.New(hollownode.Config{Count: 2, LeaseDuration: time.Second})
	if err := nodes.Kill("node-1"); err != nil {
		t.Fatal(err)
	}
	p.run(t, nodes)
	if _, err := p.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("a killed node has registered: %v", err)
	}
	if err := nodes.Revive("node-1"); err != nil {
		t.Fatal(err)
	}
	p.untilReady(t, "node-1")

	p.create(t, "before", "node-0")
	p.untilPhase(t, "before", corev1.PodRunning)
	if err := nodes.Kill("node-0"); err != nil {
		t.Fatal(err)
	}
	lease := func() time.Time {
		lease, err := p.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), "node-0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return lease.Spec.RenewTime.Time
	}
	// A write that was in flight at the kill may have succeeded.
	untilRenewed(t, p, "node-1")
	killed := lease()
	p.create(t, "after", "node-0")
	p.create(t, "other-node", "node-1")
	p.delete(t, "before", nil)
	p.untilPhase(t, "other-node", corev1.PodRunning)
	untilRenewed(t, p, "node-1")
	untilRenewed(t, p, "node-1")
	if now := lease(); !now.Equal(killed) {
		t.Error("the killed node has renewed its lease")
	}
	if pod, err := p.CoreV1().Pods("default").Get(t.Context(), "after", metav1.GetOptions{}); err != nil || pod.Status.Phase != corev1.PodPending {
		t.Errorf("the killed node runs a pod: %v, %v", pod.Status.Phase, err)
	}
	if _, err := p.CoreV1().Pods("default").Get(t.Context(), "before", metav1.GetOptions{}); err != nil {
		t.Errorf("the killed node has confirmed a deletion: %v", err)
	}

	if err := nodes.Revive("node-0"); err != nil {
		t.Fatal(err)
	}
	p.untilPhase(t, "after", corev1.PodRunning)
	p.untilGone(t, "before")
	untilRenewed(t, p, "node-0")
	if err := nodes.Kill("worker"); err == nil || !strings.Contains(err.Error(), "node-0 to node-1") {
		t.Errorf("Kill of an unknown node: %v", err)
	}
}

func TestRestartTakesOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := controlplane.Config{DataDir: dir}
	nodes := hollownode.New(hollownode.Config{Count: 2})
	var uid, ip string
	t.Run("first", func(t *testing.T) {
		p := start(t, cfg)
		p.run(t, nodes)
		p.create(t, "old", "node-0")
		ip = p.untilPhase(t, "old", corev1.PodRunning).Status.PodIP
		node, err := p.CoreV1().Nodes().Get(t.Context(), "node-0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		uid = string(node.UID)
	})
	t.Run("second", func(t *testing.T) {
		p := start(t, cfg)
		old, err := p.CoreV1().Nodes().Get(t.Context(), "node-0", metav1.GetOptions{})
		if err != nil || string(old.UID) != uid {
			t.Fatalf("the Node object is gone: %v", err)
		}
		p.create(t, "meanwhile", "node-1")
		p.run(t, nodes)
		node, err := p.CoreV1().Nodes().Get(t.Context(), "node-0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if string(node.UID) != uid || !ready(node) {
			t.Error("the second run did not take over the Node object")
		}
		if was, is := old.Status.DaemonEndpoints, node.Status.DaemonEndpoints; was == is {
			t.Errorf("got port %v of the first run, want another one", is)
		}
		if other := p.untilPhase(t, "meanwhile", corev1.PodRunning); other.Status.PodIP == ip {
			t.Error("two pods have the same address")
		}
		p.delete(t, "old", nil)
		p.untilGone(t, "old")
	})
}

func TestRunErrors(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	for want, cfg := range map[string]hollownode.Config{
		"Count":         {Count: -1},
		"NamePrefix":    {NamePrefix: "Node_"},
		"Labels":        {Labels: map[string]string{"a b": "c"}},
		"Taints[0]":     {Taints: []corev1.Taint{{Key: "a"}}},
		"Capacity[cpu]": {Capacity: corev1.ResourceList{"cpu": resource.MustParse("-1")}},
		"Address":       {Address: "0.0.0.0:0"},
		"PodCIDR":       {PodCIDR: "10.0.0.0/31"},
		"LeaseDuration": {LeaseDuration: time.Millisecond},
		"StopDelay":     {StopDelay: -1},
		// The control plane listens on this port.
		"Config.Address": {Address: strings.TrimPrefix(p.server.URL(), "https://")},
		// Only the API server rejects this.
		"node node-0": {Labels: map[string]string{"kubernetes.io/arch": "x"}, Taints: []corev1.Taint{
			{Key: "a", Effect: corev1.TaintEffectNoSchedule}, {Key: "a", Effect: corev1.TaintEffectNoSchedule},
		}},
	} {
		err := hollownode.New(cfg).Run(t.Context(), p.server.ClientConfig(), func() { t.Errorf("%s: ready", want) })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "hollownode: ") {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
	nodes := hollownode.New(hollownode.Config{})
	p.run(t, nodes)
	if err := nodes.Run(t.Context(), p.server.ClientConfig(), nil); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Errorf("a second Run: %v", err)
	}
}

// TestTwoComponents: two components simulate two kinds of nodes.
func TestTwoComponents(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{Components: []controlplane.Component{
		hollownode.New(hollownode.Config{}),
		hollownode.New(hollownode.Config{Name: "large-nodes", NamePrefix: "large-"}),
	}})
	for _, name := range []string{"node-0", "large-0"} {
		if _, err := p.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
}
