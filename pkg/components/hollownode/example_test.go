// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode_test

import (
	"context"
	"fmt"
	"log"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// A pod runs on a simulated node.
func Example() {
	ctx := context.Background()
	cp, err := controlplane.Start(ctx, controlplane.Config{
		Components: []controlplane.Component{hollownode.New(hollownode.Config{Count: 3})},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = cp.Close() }()

	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	pods := client.CoreV1().Pods("default")
	_, err = pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "task",
			Annotations: map[string]string{hollownode.AnnotationRunFor: "100ms", hollownode.AnnotationExitCode: "3"},
		},
		Spec: corev1.PodSpec{
			NodeName:      "node-2",
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "main", Image: "busybox"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		log.Fatal(err)
	}
	watch, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", "task").String()})
	if err != nil {
		log.Fatal(err)
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		if pod, ok := event.Object.(*corev1.Pod); ok && pod.Status.Phase == corev1.PodFailed {
			end := pod.Status.ContainerStatuses[0].State.Terminated
			fmt.Println(pod.Name, "on", pod.Spec.NodeName, "ended with exit code", end.ExitCode)
			break
		}
	}
	// Output: task on node-2 ended with exit code 3
}
