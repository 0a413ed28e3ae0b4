// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
)

// An unresponsive node is tainted, and its pods are replaced on other nodes.
func TestUnresponsiveNode(t *testing.T) {
	p, nodes := cluster(t, hollownode.Config{Count: 3, LeaseDuration: time.Second}, controllers.Config{
		Controllers: []string{controllers.Workloads, controllers.Nodes},
		Customize: func(c *kubectrlmgrconfig.KubeControllerManagerConfiguration) {
			c.NodeLifecycleController.NodeMonitorPeriod.Duration = 200 * time.Millisecond
			c.NodeLifecycleController.NodeMonitorGracePeriod.Duration = 4 * time.Second
		},
	})
	deploy(t, p, "web", 3)
	patch := []byte(`{"spec":{"template":{"spec":{"tolerations":[
		{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":0}]}}}}`)
	if _, err := p.AppsV1().Deployments("default").Patch(t.Context(), "web", "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	untilRolledOut(t, p, "web")
	dead := p.pods(t, "web")[0].Spec.NodeName
	if err := nodes.Kill(dead); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "nodes", "", dead), &corev1.Node{}, func(node *corev1.Node) bool {
		return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
			return taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoExecute
		})
	})
	testwait.True(t, "three pods run on the remaining nodes", func() bool {
		running := 0
		for _, pod := range p.pods(t, "web") {
			if pod.Spec.NodeName != dead && isReady(&pod) {
				running++
			}
		}
		return running == 3
	})
}

// Each node gets a range of its own, outside of the Service range. ttl-controller runs
// too.
func TestNodeIPAM(t *testing.T) {
	p, _ := cluster(t, hollownode.Config{Count: 3}, controllers.Config{
		Controllers: []string{controllers.Nodes},
		PodCIDR:     "10.0.0.0/16", // starts with the default ServiceCIDR
	})
	seen := map[string]bool{"10.0.0.0/24": true}
	for _, name := range []string{"node-0", "node-1", "node-2"} {
		node := testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "nodes", "", name), &corev1.Node{}, func(n *corev1.Node) bool {
			return n.Spec.PodCIDR != "" && n.Annotations["node.alpha.kubernetes.io/ttl"] == "0"
		})
		if seen[node.Spec.PodCIDR] {
			t.Errorf("%s has %s, which is already in use", name, node.Spec.PodCIDR)
		}
		seen[node.Spec.PodCIDR] = true
	}
}
