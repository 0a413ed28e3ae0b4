// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
)

// Pod is the object of most work: a pod like one of a Deployment. The API server stores
// some 1.5 KB for it.
func Pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web", "tier": "front"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name:  "web",
			Image: "registry.example.com/web:v1.2.3",
			Env:   []corev1.EnvVar{{Name: "PORT", Value: "8080"}, {Name: "LOG_LEVEL", Value: "info"}},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			},
		}}},
	}
}

// CreatePod creates a pod in the namespace default, which completes a start.
func CreatePod(ctx context.Context, client kubernetes.Interface, name string) error {
	_, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, Pod(name), metav1.CreateOptions{})
	return err
}

func (c *Client) create(ctx context.Context, s Spec) (Result, error) {
	pods := c.client.CoreV1().Pods(s.Namespace)
	created := make([]*corev1.Pod, s.Objects)
	result, err := run(ctx, s.Objects, s.Clients, s.Rate, func(ctx context.Context, i int) (err error) {
		created[i], err = pods.Create(ctx, Pod(fmt.Sprint("pod-", s.First+i)), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return result, err
	}
	c.pods[s.Namespace] = created
	return result, nil
}

// each calls ask once for each of the last created pods of the namespace, one after the
// other.
func (c *Client) each(ctx context.Context, s Spec, ask func(ctx context.Context, i int, pod *corev1.Pod) error) (Result, error) {
	pods := c.pods[s.Namespace]
	if len(pods) < s.Objects {
		return Result{}, errFewPods
	}
	return run(ctx, s.Objects, s.Clients, s.Rate, func(ctx context.Context, i int) error { return ask(ctx, i, pods[i]) })
}

func (c *Client) get(ctx context.Context, s Spec) (Result, error) {
	pods := c.client.CoreV1().Pods(s.Namespace)
	return c.each(ctx, s, func(ctx context.Context, _ int, pod *corev1.Pod) error {
		_, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		return err
	})
}

func (c *Client) update(ctx context.Context, s Spec) (Result, error) {
	pods := c.client.CoreV1().Pods(s.Namespace)
	all := c.pods[s.Namespace]
	return c.each(ctx, s, func(ctx context.Context, i int, pod *corev1.Pod) (err error) {
		pod.Labels["updated"] = "yes"
		all[i], err = pods.Update(ctx, pod, metav1.UpdateOptions{})
		return err
	})
}

func (c *Client) patch(ctx context.Context, s Spec) (Result, error) {
	pods := c.client.CoreV1().Pods(s.Namespace)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{"patched": "yes"}}})
	if err != nil {
		return Result{}, err
	}
	return c.each(ctx, s, func(ctx context.Context, _ int, pod *corev1.Pod) error {
		_, err := pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

func (c *Client) apply(ctx context.Context, s Spec) (Result, error) {
	pods := c.client.CoreV1().Pods(s.Namespace)
	return c.each(ctx, s, func(ctx context.Context, _ int, pod *corev1.Pod) error {
		applied := applycorev1.Pod(pod.Name, s.Namespace).WithLabels(map[string]string{"applied": "yes"})
		_, err := pods.Apply(ctx, applied, metav1.ApplyOptions{FieldManager: "bench"})
		return err
	})
}

func (c *Client) delete(ctx context.Context, s Spec) (Result, error) {
	pods := c.client.CoreV1().Pods(s.Namespace)
	now := int64(0)
	return c.each(ctx, s, func(ctx context.Context, _ int, pod *corev1.Pod) error {
		return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
}
