// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"context"
	"fmt"
	"log"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func Example() {
	ctx := context.Background()
	server, err := controlplane.Start(ctx, controlplane.Config{
		Components: []controlplane.Component{scheduler.New(scheduler.Config{})},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	client := kubernetes.NewForConfigOrDie(server.ClientConfig()).CoreV1()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")}
	if _, err := client.Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		log.Fatal(err)
	}
	watch, err := client.Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:latest"}}},
	}
	if _, err := client.Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		log.Fatal(err)
	}
	for event := range watch.ResultChan() {
		if pod, ok := event.Object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			fmt.Println(pod.Name, "runs on", pod.Spec.NodeName)
			break
		}
	}
	watch.Stop()
	// Output: nginx runs on worker
}
