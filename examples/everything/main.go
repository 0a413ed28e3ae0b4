// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Everything starts a control plane with all components: a scheduler, upstream's
// controllers and three simulated nodes. A Deployment gets its pods on these.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	cp, err := controlplane.Start(ctx, controlplane.Config{Components: []controlplane.Component{
		controllers.New(controllers.Config{}),
		hollownode.New(hollownode.Config{Count: 3}),
		scheduler.New(scheduler.Config{}),
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()

	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	if err := deploy(ctx, client, newDeployment("web", 3)); err != nil {
		return err
	}
	pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		fmt.Fprintln(out, pod.Name, "is", pod.Status.Phase, "on", pod.Spec.NodeName)
	}
	return nil
}

// deploy creates a Deployment, and returns when all replicas are available.
func deploy(ctx context.Context, client kubernetes.Interface, deployment *appsv1.Deployment) error {
	deployments := client.AppsV1().Deployments("default")
	watch, err := deployments.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + deployment.Name})
	if err != nil {
		return err
	}
	defer watch.Stop()
	if _, err := deployments.Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		return err
	}
	for event := range watch.ResultChan() {
		if d, ok := event.Object.(*appsv1.Deployment); ok && d.Status.AvailableReplicas == *d.Spec.Replicas {
			return nil
		}
	}
	return errors.New("the control plane stopped")
}

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:latest"}}},
			},
		},
	}
}
