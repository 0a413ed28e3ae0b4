// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Minimal starts a Kubernetes control plane in this process, creates a pod, and lists the
// pods.
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

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	cp, err := controlplane.Start(ctx, controlplane.Config{}) // ready when it returns
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()

	client, err := kubernetes.NewForConfig(cp.ClientConfig())
	if err != nil {
		return err
	}
	pods := client.CoreV1().Pods("default")
	nginx := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:latest"}}},
	}
	if _, err := pods.Create(ctx, nginx, metav1.CreateOptions{}); err != nil {
		return err
	}
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, pod := range list.Items {
		fmt.Fprintln(out, pod.Namespace+"/"+pod.Name, pod.Status.Phase)
	}
	return nil
}
