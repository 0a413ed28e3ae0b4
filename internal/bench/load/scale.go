// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// scaleTimeout bounds the wait for nodes or pods.
const scaleTimeout = 15 * time.Minute

// waitComponents waits until the scheduler and the controllers work: the pod of the start
// has no node, and the namespace has its service account.
func (c *Client) waitComponents(ctx context.Context, _ Spec) (Result, error) {
	began := time.Now()
	if err := c.await(ctx, "serviceaccounts", metav1.NamespaceDefault, &corev1.ServiceAccount{}, 1, func(any) bool { return true }); err != nil {
		return Result{}, err
	}
	err := c.await(ctx, "pods", metav1.NamespaceDefault, &corev1.Pod{}, 1, func(object any) bool {
		for _, condition := range object.(*corev1.Pod).Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Reason == corev1.PodReasonUnschedulable {
				return true
			}
		}
		return false
	})
	return Result{Count: 1, Took: time.Since(began)}, err
}

// createNodes creates Node objects for a program that simulates the nodes, with the
// labels and capacity of this library's. It waits as waitNodes does.
func (c *Client) createNodes(ctx context.Context, s Spec) (Result, error) {
	began := time.Now()
	_, err := run(ctx, s.Objects, s.Clients, 0, func(ctx context.Context, i int) error {
		node := newNode(fmt.Sprint("node-", i))
		node.Status = corev1.NodeStatus{Capacity: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"),
			corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"), corev1.ResourcePods: resource.MustParse("110"),
		}}
		node.Status.Allocatable = node.Status.Capacity
		_, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return Result{}, err
	}
	result, err := c.waitNodes(ctx, s)
	result.Took = time.Since(began)
	return result, err
}

// waitNodes waits until all nodes are Ready and without taints.
func (c *Client) waitNodes(ctx context.Context, s Spec) (Result, error) {
	began := time.Now()
	err := c.await(ctx, "nodes", metav1.NamespaceAll, &corev1.Node{}, s.Objects, func(object any) bool {
		node := object.(*corev1.Node)
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0
			}
		}
		return false
	})
	return Result{Count: s.Objects, Took: time.Since(began)}, err
}

// deploy creates Deployments that share the pods, and waits until all pods are Running.
func (c *Client) deploy(ctx context.Context, s Spec) (Result, error) {
	began := time.Now()
	_, err := run(ctx, s.Deployments, s.Clients, 0, func(ctx context.Context, i int) error {
		replicas := s.Objects / s.Deployments
		if i < s.Objects%s.Deployments {
			replicas++
		}
		name := fmt.Sprint("web-", i)
		template := Pod("")
		template.Labels["app"] = name
		_, err := c.client.AppsV1().Deployments(s.Namespace).Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.DeploymentSpec{
				Replicas: new(int32(replicas)),
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: template.Labels}, Spec: template.Spec},
			},
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return Result{}, err
	}
	err = c.await(ctx, "pods", s.Namespace, &corev1.Pod{}, s.Objects, func(object any) bool {
		return object.(*corev1.Pod).Status.Phase == corev1.PodRunning
	})
	return Result{Count: s.Objects, Took: time.Since(began)}, err
}

// await watches a resource until so many objects meet the condition.
func (c *Client) await(ctx context.Context, resource, namespace string, kind runtime.Object, want int, meets func(object any) bool) error {
	ctx, cancel := context.WithTimeout(ctx, scaleTimeout)
	defer cancel()
	counter := &counter{want: want, meets: meets, met: map[string]bool{}, done: make(chan struct{})}
	lw := cache.NewListWatchFromClient(c.rest, resource, namespace, fields.Everything())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		cache.NewReflectorWithOptions(lw, kind, counter, cache.ReflectorOptions{Name: "bench"}).RunWithContext(ctx)
	})
	select {
	case <-counter.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d of %d %s are as wanted: %w", counter.count(), want, resource, ctx.Err())
	}
}

// counter is the store of a reflector. It counts the objects that meet a condition, by
// name.
type counter struct {
	want  int
	meets func(object any) bool

	mutex sync.Mutex
	met   map[string]bool
	done  chan struct{} // closed when as many as wanted meet it for the first time
	end   sync.Once     // closes done
}

func (c *counter) count() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return len(c.met)
}

func (c *counter) Add(object any) error { return c.Update(object) }

func (c *counter) Update(object any) error {
	name := object.(metav1.Object).GetName()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !c.meets(object) {
		delete(c.met, name)
		return nil
	}
	known := c.met[name]
	c.met[name] = true
	if !known && len(c.met) == c.want {
		c.end.Do(func() { close(c.done) })
	}
	return nil
}

func (c *counter) Delete(object any) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.met, object.(metav1.Object).GetName())
	return nil
}

func (c *counter) Replace(objects []any, _ string) error {
	for _, object := range objects {
		_ = c.Update(object)
	}
	return nil
}

func (c *counter) Resync() error { return nil }

// Metric returns the sum of a counter of the API server over all of its labels.
func (c *Client) Metric(ctx context.Context, name string) (sum float64, err error) {
	data, err := c.rest.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	if len(data) == 0 {
		return 0, errors.New("/metrics is empty")
	}
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, name+"{") {
			continue
		}
		_, text, _ := strings.Cut(line, "} ")
		value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return 0, fmt.Errorf("/metrics: %q: %w", line, err)
		}
		sum += value
	}
	return sum, nil
}
