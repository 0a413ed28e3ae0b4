// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"fmt"
	"log"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// A Deployment gets its pods.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	cp, err := controlplane.Start(ctx, controlplane.Config{DisableAdmissionPlugins: []string{"ServiceAccount"}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = cp.Close() }()

	// A control plane runs its components like this.
	workloads := controllers.New(controllers.Config{Controllers: []string{controllers.Workloads}})
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- workloads.Run(ctx, cp.ClientConfig(), func() { close(ready) }) }()
	<-ready

	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	replicas, labels := int32(3), map[string]string{"app": "web"}
	pods, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		log.Fatal(err)
	}
	defer pods.Stop()
	_, err = client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for range replicas {
		pod := (<-pods.ResultChan()).Object.(*corev1.Pod)
		fmt.Println("a pod of", pod.OwnerReferences[0].Kind, "is", pod.Status.Phase)
	}
	cancel()
	fmt.Println("controllers have ended:", <-ended)
	// Output:
	// a pod of ReplicaSet is Pending
	// a pod of ReplicaSet is Pending
	// a pod of ReplicaSet is Pending
	// controllers have ended: <nil>
}
