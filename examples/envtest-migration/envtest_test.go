// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestBehaveLikeEnvtest makes the same calls in envtest and in a control plane with
// BehaveLikeEnvtest, and compares the objects. It runs if KUBEBUILDER_ASSETS names a
// directory with kube-apiserver and etcd.
func TestBehaveLikeEnvtest(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	t.Parallel()
	env := &envtest.Environment{}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	}()
	want := after(t, config)
	got := after(t, controlplanetest.New(t, controlplanetest.Config{BehaveLikeEnvtest: true}).ClientConfig())
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: with envtest\n%s\nwith BehaveLikeEnvtest\n%s", name, want[name], got[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is not there with envtest", name)
		}
	}
}

// resources are the resources of the compared objects.
var resources = []schema.GroupVersionResource{
	{Version: "v1", Resource: "namespaces"}, {Version: "v1", Resource: "nodes"}, {Version: "v1", Resource: "pods"},
	{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "serviceaccounts"}, {Version: "v1", Resource: "secrets"},
	{Version: "v1", Resource: "resourcequotas"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
	{Group: "certificates.k8s.io", Version: "v1", Resource: "certificatesigningrequests"},
}

// after makes typical calls of tests, and returns the objects that exist then.
func after(t *testing.T, config *rest.Config) map[string]string {
	t.Helper()
	ctx, client := t.Context(), kubernetes.NewForConfigOrDie(config)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"one", "deleted"} {
		_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		check(err)
	}
	check(client.CoreV1().Namespaces().Delete(ctx, "deleted", metav1.DeleteOptions{}))
	node, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}, metav1.CreateOptions{})
	check(err)
	pod, err := client.CoreV1().Pods("one").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod"},
		Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	check(err)
	_, err = client.CoreV1().ConfigMaps("one").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owned",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "nobody", UID: "made-up"}}}}, metav1.CreateOptions{})
	check(err)
	_, err = client.CoreV1().ResourceQuotas("one").Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "quota"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceConfigMaps: resource.MustParse("3")}}}, metav1.CreateOptions{})
	check(err)
	// The update succeeds because no controller has written to the object.
	node.Labels, pod.Labels = map[string]string{"updated": "yes"}, map[string]string{"updated": "yes"}
	_, err = client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
	check(err)
	_, err = client.CoreV1().Pods("one").Update(ctx, pod, metav1.UpdateOptions{})
	check(err)
	return objects(ctx, t, dynamic.NewForConfigOrDie(config))
}

func objects(ctx context.Context, t *testing.T, client dynamic.Interface) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, resource := range resources {
		list, err := client.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			object := &list.Items[i]
			name := fmt.Sprintf("%s %s/%s", resource.Resource, object.GetNamespace(), object.GetName())
			if object.GetNamespace() == metav1.NamespaceSystem || strings.HasPrefix(object.GetName(), "kubembed:") {
				continue // of the control plane itself, some of it later
			}
			text, err := json.MarshalIndent(comparable(object), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	return all
}

// comparable returns an object without the fields that differ between control planes.
func comparable(object *unstructured.Unstructured) map[string]any {
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "generation"} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	if taints, found, _ := unstructured.NestedSlice(object.Object, "spec", "taints"); found {
		slices.SortFunc(taints, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		_ = unstructured.SetNestedSlice(object.Object, taints, "spec", "taints")
	}
	return object.Object
}
