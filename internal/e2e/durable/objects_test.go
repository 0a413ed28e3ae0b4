// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/e2e/durable/history"
)

// namespaces are the namespaces of the written objects.
var namespaces = []string{"durable-0", "durable-1", "durable-2", "durable-3"}

// kinds are the kinds of the written objects. Events have no watch cache: their watches
// are etcd's, and can resume after a restart where other watches get 410 Gone.
var kinds = []string{"configmaps", "pods", "events"}

func resource(kind string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: kind}
}

// newObject returns a minimal object.
func newObject(key history.Key) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1"}}
	switch key.Kind {
	case "configmaps":
		o.SetKind("ConfigMap")
	case "pods":
		o.SetKind("Pod")
		o.Object["spec"] = map[string]any{"containers": []any{map[string]any{"name": "main", "image": "registry.k8s.io/pause"}}}
	case "events":
		o.SetKind("Event")
		o.Object["involvedObject"] = map[string]any{"kind": "Pod", "namespace": key.Namespace, "name": key.Name}
	}
	o.SetNamespace(key.Namespace)
	o.SetName(key.Name)
	return o
}

// ours returns the key of a writer's object, or false for other objects.
func ours(kind string, o *unstructured.Unstructured) (history.Key, bool) {
	key := history.Key{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
	return key, strings.HasPrefix(key.Namespace, "durable-") && strings.HasPrefix(key.Name, "written-")
}

// stateOf returns the state of an object.
func stateOf(o *unstructured.Unstructured) (history.State, error) {
	stamp, err := history.Stamp(o.GetAnnotations())
	if err != nil {
		return history.State{}, fmt.Errorf("%s %s/%s is %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
	version, err := version(o.GetResourceVersion())
	return history.State{Stamp: stamp, Version: version, UID: string(o.GetUID())}, err
}

func version(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("a resource version is %q", s)
	}
	return v, nil
}
