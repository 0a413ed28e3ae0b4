// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

const (
	demoName     = "web"
	demoReplicas = 3
	demoTimeout  = time.Minute
)

// showDeployment creates a Deployment, waits until it is available, and prints its pods
// and the log of one of them.
func showDeployment(ctx context.Context, out io.Writer, cp *controlplane.Server) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, errors.New("its pods do not run within a minute"))
	defer cancel()
	client, err := kubernetes.NewForConfig(cp.ClientConfig())
	if err != nil {
		return err
	}
	if err := deployDemo(ctx, client); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("--demo: Deployment %s: %w", demoName, err)
	}
	pods, err := client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "app=" + demoName})
	if err != nil {
		return fmt.Errorf("--demo: %w", err)
	}
	fmt.Fprintf(out, "\nDeployment %s is available:\n", demoName)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "    POD\tSTATUS\tNODE")
	var running string
	for _, pod := range pods.Items {
		fmt.Fprintf(table, "    %s\t%s\t%s\n", pod.Name, pod.Status.Phase, pod.Spec.NodeName)
		if pod.Status.Phase == corev1.PodRunning {
			running = pod.Name
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	logs, err := client.CoreV1().Pods(metav1.NamespaceDefault).GetLogs(running, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("--demo: logs of pod %s: %w", running, err)
	}
	fmt.Fprintf(out, "The log of %s:\n", running)
	for line := range strings.Lines(string(logs)) {
		fmt.Fprintf(out, "    %s", line)
	}
	return nil
}

// deployDemo creates the Deployment, or uses the one of an earlier run, and returns
// when all replicas are available.
func deployDemo(ctx context.Context, client kubernetes.Interface) error {
	deployments := client.AppsV1().Deployments(metav1.NamespaceDefault)
	created, err := deployments.Create(ctx, demoDeployment(), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		created, err = deployments.Get(ctx, demoName, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	watch, err := deployments.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + demoName})
	if err != nil {
		return err
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		d, ok := event.Object.(*appsv1.Deployment)
		if ok && d.Status.ObservedGeneration >= created.Generation && d.Status.AvailableReplicas >= ptr.Deref(d.Spec.Replicas, 1) {
			return nil
		}
	}
	return errors.New("the control plane stopped")
}

func demoDeployment() *appsv1.Deployment {
	labels := map[string]string{"app": demoName}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: demoName},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](demoReplicas),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      labels,
					Annotations: map[string]string{hollownode.AnnotationLog: "Hello. This container is simulated: nothing of it runs."},
				},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:latest"}}},
			},
		},
	}
}
