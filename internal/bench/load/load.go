// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package load is the work of all sides of the bench. It depends on a side only for the
// address of the server.
package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Spec is one piece of work.
type Spec struct {
	Work        string        // a key of works
	Namespace   string        `json:",omitempty"` // namespace of its objects
	Clients     int           `json:",omitempty"` // goroutines that send one request after the other
	Objects     int           `json:",omitempty"` // how many requests, or objects
	First       int           `json:",omitempty"` // number of the first object
	Rate        float64       `json:",omitempty"` // requests per second, or unlimited if 0
	Window      time.Duration `json:",omitempty"` // duration, if Objects does not limit the work
	Watchers    int           `json:",omitempty"`
	List        List          `json:",omitzero"`
	Deployments int           `json:",omitempty"` // that share Objects pods
}

// Result is the outcome of a piece of work. Latencies are of single requests, delays of
// events.
type Result struct {
	Count    int           // requests, or events
	Took     time.Duration // for all
	P50, P99 time.Duration
	Bytes    int64 // read, if counted
}

// PerSecond returns the number per second.
func (r Result) PerSecond() float64 { return float64(r.Count) / r.Took.Seconds() }

// Client does one piece of work at a time, and keeps the objects that later pieces need.
type Client struct {
	client kubernetes.Interface
	rest   rest.Interface
	pods   map[string][]*corev1.Pod // by namespace
	nodes  []*heartbeat
}

// contentType is the content type of Kubernetes' controllers.
const contentType = runtime.ContentTypeProtobuf

// New returns a client like that of a controller: protobuf, one HTTP/2 connection if the
// server has HTTP/2, and no rate limit.
func New(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.ContentType = contentType
	config.AcceptContentTypes = contentType + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Client{client: client, rest: client.CoreV1().RESTClient(), pods: map[string][]*corev1.Pod{}}, nil
}

// works are the keys of Spec.Work.
var works = map[string]func(*Client, context.Context, Spec) (Result, error){
	"create":              (*Client).create,
	"get":                 (*Client).get,
	"update":              (*Client).update,
	"patch":               (*Client).patch,
	"apply":               (*Client).apply,
	"delete":              (*Client).delete,
	"list":                (*Client).list,
	"watch":               (*Client).watch,
	"nodes":               (*Client).registerNodes,
	"heartbeats":          (*Client).heartbeats,
	"wait for components": (*Client).waitComponents,
	"create nodes":        (*Client).createNodes,
	"wait for nodes":      (*Client).waitNodes,
	"deploy":              (*Client).deploy,
}

// Do does one piece of work. An error of any request is an error.
func (c *Client) Do(ctx context.Context, spec Spec) (Result, error) {
	work, ok := works[spec.Work]
	if !ok {
		return Result{}, fmt.Errorf("load: unknown work %q", spec.Work)
	}
	if spec.Namespace != "" {
		if err := c.namespace(ctx, spec.Namespace); err != nil {
			return Result{}, err
		}
	}
	result, err := work(c, ctx, spec)
	if err != nil {
		return Result{}, fmt.Errorf("load: %s: %w", spec.Work, err)
	}
	return result, nil
}

// namespace creates a namespace if it does not exist.
func (c *Client) namespace(ctx context.Context, name string) error {
	if _, ok := c.pods[name]; ok {
		return nil
	}
	_, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		_, err = c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("load: namespace %s: %w", name, err)
	}
	c.pods[name] = nil
	return nil
}

var errFewPods = errors.New("fewer pods than Objects: create them first")
