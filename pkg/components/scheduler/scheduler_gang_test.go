// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/kubernetes/pkg/features"

	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestGang: of a PodGroup whose pods need more room than there is none gets a node,
// although there would be room for some; when there is room for all, all get one.
func TestGang(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.GenericWorkload, true)
	config, client := start(t, controlplane.Config{RuntimeConfig: map[string]string{"scheduling.k8s.io/v1beta1": "true"}})
	createNode(t, client, newNode("small", "2"))
	run(t, config, scheduler.New(scheduler.Config{}))
	if _, err := client.SchedulingV1beta1().PodGroups("default").Create(t.Context(), &schedulingv1beta1.PodGroup{
		ObjectMeta: metav1.ObjectMeta{Name: "gang"},
		Spec: schedulingv1beta1.PodGroupSpec{SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{
			Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: 3},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	group := "gang"
	for i := range 3 {
		pod := newPod(fmt.Sprint("member-", i), "1")
		pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group}
		createPod(t, client, pod)
	}
	for i := range 3 {
		untilPod(t, client, fmt.Sprint("member-", i), func(pod *corev1.Pod) bool {
			if pod.Spec.NodeName != "" {
				t.Fatalf("%s has a node although there is no room for all", pod.Name)
			}
			for _, c := range pod.Status.Conditions {
				if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
					return true
				}
			}
			return false
		})
	}
	// One that is no member has the room.
	createPod(t, client, newPod("single", "1"))
	nodeOf(t, client, "single")
	createNode(t, client, newNode("large", "2"))
	for i := range 3 {
		nodeOf(t, client, fmt.Sprint("member-", i))
	}
}
