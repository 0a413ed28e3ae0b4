// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestPodsArePendingWithoutAndBoundWithAScheduler(t *testing.T) {
	config, client := start(t, controlplane.Config{})
	pods := []string{"one", "two", "three"}
	for _, node := range []string{"a", "b", "c"} {
		createNode(t, client, newNode(node, "1"))
	}
	for _, name := range pods {
		createPod(t, client, newPod(name, "600m"))
	}
	list, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.Spec.NodeName != "" || pod.Status.Phase != corev1.PodPending {
			t.Fatalf("without a scheduler, %s is %s on node %q", pod.Name, pod.Status.Phase, pod.Spec.NodeName)
		}
	}

	run(t, config, scheduler.New(scheduler.Config{}))
	used := map[string]bool{}
	for _, name := range pods {
		node := nodeOf(t, client, name)
		if used[node] {
			t.Errorf("%s is on %s, which has no room for two", name, node)
		}
		used[node] = true
		event := wantEvent(t, client, name, "Scheduled")
		if want := "Successfully assigned default/" + name + " to " + node; event.Message != want || event.ReportingController != corev1.DefaultSchedulerName {
			t.Errorf("the event says %q from %q", event.Message, event.ReportingController)
		}
	}
}

func TestConstraintsAreRespected(t *testing.T) {
	config, client := start(t, controlplane.Config{})
	plain, ssd, tainted, big := newNode("plain", "2"), newNode("ssd", "2"), newNode("tainted", "2"), newNode("big", "16")
	ssd.Labels["disk"] = "ssd"
	tainted.Labels["for"] = "gpu"
	tainted.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
	big.Spec.Taints = []corev1.Taint{{Key: "slow", Effect: corev1.TaintEffectPreferNoSchedule}}
	for _, node := range []*corev1.Node{plain, ssd, tainted, big} {
		createNode(t, client, node)
	}
	run(t, config, scheduler.New(scheduler.Config{}))

	selects := newPod("selects", "100m")
	selects.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	tolerates := newPod("tolerates", "100m")
	tolerates.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
	tolerates.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "for", Operator: corev1.NodeSelectorOpIn, Values: []string{"gpu"}}},
		}}},
	}}
	terms := []corev1.PodAffinityTerm{{
		TopologyKey:   corev1.LabelHostname,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": "selects"}},
	}}
	follows := newPod("follows", "100m")
	follows.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	avoids := newPod("avoids", "100m")
	avoids.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	for _, c := range []struct {
		pod  *corev1.Pod
		want string
	}{
		{selects, "ssd"},
		{tolerates, "tainted"},
		{follows, "ssd"},
		{avoids, "plain"}, // and not big, which is better not used
		{newPod("large", "8"), "big"},
	} {
		createPod(t, client, c.pod)
		if node := nodeOf(t, client, c.pod.Name); node != c.want {
			t.Errorf("%s is on %s, want %s", c.pod.Name, node, c.want)
		}
	}
}

func TestUnschedulablePodIsScheduledWhenANodeAppears(t *testing.T) {
	config, client := start(t, controlplane.Config{})
	run(t, config, scheduler.New(scheduler.Config{}))
	createPod(t, client, newPod("early", "100m"))
	untilPod(t, client, "early", func(pod *corev1.Pod) bool {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				return c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable && c.Message == "no nodes available to schedule pods"
			}
		}
		return false
	})
	if event := wantEvent(t, client, "early", "FailedScheduling"); event.Type != corev1.EventTypeWarning || !strings.Contains(event.Message, "no nodes available") {
		t.Errorf("the event is a %s and says %q", event.Type, event.Message)
	}

	createNode(t, client, newNode("late", "1"))
	if node := nodeOf(t, client, "early"); node != "late" {
		t.Errorf("the pod is on %q", node)
	}
}

func TestPreemption(t *testing.T) {
	config, client := start(t, controlplane.Config{})
	createNode(t, client, newNode("only", "1"))
	for name, value := range map[string]int32{"low": 1, "high": 1000} {
		class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
		if _, err := client.SchedulingV1().PriorityClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	run(t, config, scheduler.New(scheduler.Config{}))
	low, high := newPod("low", "800m"), newPod("high", "800m")
	low.Spec.PriorityClassName, high.Spec.PriorityClassName = "low", "high"
	createPod(t, client, low)
	nodeOf(t, client, "low")
	createPod(t, client, high)
	if node := nodeOf(t, client, "high"); node != "only" {
		t.Errorf("the pod is on %q", node)
	}
	wantEvent(t, client, "low", "Preempted")
	if _, err := client.CoreV1().Pods("default").Get(t.Context(), "low", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the victim is still there: %v", err)
	}
}
