// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var aggregation = []effect{{
	name: "APIService created → served",
	try: func(t *trial) {
		group := strings.ReplaceAll(t.user(), "-", "") + ".example.com"
		s := t.serve(discovery(group, "v1", "thing", "Thing", nil))
		t.serviceOf(s)
		t.begin()
		t.aggregate(s, group, "v1")
		t.repeat(func() (bool, error) {
			var list metav1.APIResourceList
			data, err := t.typed.Discovery().RESTClient().Get().AbsPath("/apis", group, "v1").DoRaw(t.ctx)
			if apierrors.IsNotFound(err) || apierrors.IsServiceUnavailable(err) {
				return false, nil
			}
			if err == nil {
				err = json.Unmarshal(data, &list)
			}
			return len(list.APIResources) == 1, err
		})
	},
}}

// serviceOf creates a Service through which the API server reaches a server of this
// process.
func (t *trial) serviceOf(s served) {
	t.create(serviceResource, t.name, "spec: {type: ExternalName, externalName: 127.0.0.1, ports: [{port: %d}]}", s.port)
}

func (t *trial) aggregate(s served, group, version string) {
	t.create(apiServices, version+"."+group, `
spec:
  group: %s
  version: %s
  groupPriorityMinimum: 1000
  versionPriority: 10
  service: {namespace: %s, name: %s, port: %d}
  insecureSkipTLSVerify: true`, group, version, t.namespace, t.name, s.port)
}

// discovery is an API of one resource. It answers other requests with the object that
// rest returns.
func discovery(group, version, plural, kind string, rest func(*http.Request) any) http.Handler {
	all := "/apis/" + group
	mux := http.NewServeMux()
	mux.HandleFunc(all+"/"+version, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: group + "/" + version,
			APIResources: []metav1.APIResource{{Name: plural, Kind: kind, Namespaced: true, Verbs: metav1.Verbs{"get", "list"}}},
		})
	})
	if rest != nil {
		mux.HandleFunc(all+"/"+version+"/", func(w http.ResponseWriter, r *http.Request) { reply(w, rest(r)) })
	}
	return mux
}

const metricsGroup = "metrics.k8s.io"

var autoscaling = []effect{{
	name: "HorizontalPodAutoscaler created → scaled",
	before: func(t *trial) {
		s := t.serve(discovery(metricsGroup, "v1beta1", "pods", "PodMetrics", func(r *http.Request) any { return t.usage(r) }))
		t.serviceOf(s)
		t.aggregate(s, metricsGroup, "v1beta1")
	},
	try: func(t *trial) {
		t.deployed(t.name, 1)
		w := t.watch(deployments, t.name)
		t.begin()
		t.create(autoscalers, t.name, `
spec:
  minReplicas: 1
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}
  metrics: [{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1Mi}}}]`, t.name)
		w.until(func(o *unstructured.Unstructured) bool { return number(o, "spec", "replicas") > 1 })
		t.removed(deployments, t.name)
	},
}}

// usage returns the metrics of the pods that a request selects: twice the target.
func (t *trial) usage(r *http.Request) any {
	pods, err := t.of(podResource, t.namespace).List(r.Context(), metav1.ListOptions{LabelSelector: r.URL.Query().Get("labelSelector")})
	if err != nil {
		return metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
	}
	items := []any{}
	for _, pod := range pods.Items {
		items = append(items, map[string]any{
			"metadata":   map[string]any{"name": pod.GetName(), "namespace": pod.GetNamespace(), "labels": pod.GetLabels()},
			"timestamp":  time.Now().UTC().Format(time.RFC3339),
			"window":     "1s",
			"containers": []any{map[string]any{"name": "main", "usage": map[string]any{"cpu": "10m", "memory": "2Mi"}}},
		})
	}
	return map[string]any{"kind": "PodMetricsList", "apiVersion": metricsGroup + "/v1beta1", "metadata": map[string]any{}, "items": items}
}
