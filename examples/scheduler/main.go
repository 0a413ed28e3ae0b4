// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Scheduler starts a control plane with a scheduler and a simulated node. The scheduler
// assigns the node to a pod.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

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
		hollownode.New(hollownode.Config{}),
		scheduler.New(scheduler.Config{}),
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()

	pods := kubernetes.NewForConfigOrDie(cp.ClientConfig()).CoreV1().Pods("default")
	nginx := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:latest"}}},
	}
	watch, err := pods.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer watch.Stop()
	if _, err := pods.Create(ctx, nginx, metav1.CreateOptions{}); err != nil {
		return err
	}
	for event := range watch.ResultChan() {
		if pod, ok := event.Object.(*corev1.Pod); ok && pod.Status.Phase == corev1.PodRunning {
			fmt.Fprintln(out, pod.Name, "is", pod.Status.Phase, "on", pod.Spec.NodeName)
			return nil
		}
	}
	return errors.New("the control plane stopped")
}
