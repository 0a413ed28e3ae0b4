// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"log"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func Example() {
	ctx := context.Background()
	server, err := controlplane.Start(ctx, controlplane.Config{}) // ready when it returns
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	pods := kubernetes.NewForConfigOrDie(server.ClientConfig()).CoreV1().Pods("default")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:latest"}}},
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		log.Fatal(err)
	}
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, pod := range list.Items {
		// Without a scheduler it gets no node.
		fmt.Println(pod.Name, pod.Status.Phase)
	}
	// Output: nginx Pending
}
