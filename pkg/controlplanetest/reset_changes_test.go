// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/testwait"
)

var (
	namespaces   = corev1.SchemeGroupVersion.WithResource("namespaces")
	configMaps   = corev1.SchemeGroupVersion.WithResource("configmaps")
	services     = corev1.SchemeGroupVersion.WithResource("services")
	accounts     = corev1.SchemeGroupVersion.WithResource("serviceaccounts")
	clusterRoles = rbacv1.SchemeGroupVersion.WithResource("clusterroles")
	bindings     = rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings")
	roles        = rbacv1.SchemeGroupVersion.WithResource("roles")
	flowSchemas  = schema.GroupVersionResource{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: "flowschemas"}
	levels       = schema.GroupVersionResource{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: "prioritylevelconfigurations"}
	classes      = schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}
	apiServices  = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	definitions  = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	cidrs        = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "servicecidrs"}
	addresses    = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ipaddresses"}
	widgets      = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
)

// dirtyChanges are changes of a control plane that a manifest cannot make.
var dirtyChanges = []struct {
	name string
	do   func(d *dirt)
}{
	{"nothing", func(*dirt) {}},
	{"changed config map of kube-system", func(d *dirt) {
		d.patch(configMaps, "kube-system", "extension-apiserver-authentication", `{"metadata":{"labels":{"a":"b"}},"data":{"more":"x"}}`)
	}},
	{"deleted config map of kube-system", func(d *dirt) {
		d.remove(configMaps, "kube-system", "kube-apiserver-legacy-service-account-token-tracking")
	}},
	{"deleted root CA", func(d *dirt) { d.remove(configMaps, "default", "kube-root-ca.crt") }},
	{"changed root CA", func(d *dirt) {
		d.patch(configMaps, "kube-public", "kube-root-ca.crt", `{"data":{"ca.crt":"none"}}`)
	}},
	{"config map deleted and created again", func(d *dirt) {
		d.remove(configMaps, "kube-system", "kube-root-ca.crt")
		testwait.True(d.t, "root CA", func() bool {
			_, err := d.client.CoreV1().ConfigMaps("kube-system").Get(d.t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
			return err == nil
		})
	}},
	{"labels on the default namespace", func(d *dirt) {
		d.patch(namespaces, "", "default", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
	}},
	{"finalizer on the default namespace", func(d *dirt) {
		d.patch(namespaces, "", "default", `{"metadata":{"finalizers":["example.com/keep"]}}`)
	}},
	{"terminating kube-node-lease", func(d *dirt) { d.remove(namespaces, "", "kube-node-lease") }},
	{"terminating namespace", func(d *dirt) {
		d.create("apiVersion: v1\nkind: Namespace\nmetadata: {name: team}")
		d.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: team, finalizers: [example.com/keep]}")
		d.remove(namespaces, "", "team")
	}},
	{"deleted service account", func(d *dirt) { d.remove(accounts, "default", "default") }},
	{"changed service account", func(d *dirt) {
		d.patch(accounts, "kube-system", "default", `{"imagePullSecrets":[{"name":"x"}],"automountServiceAccountToken":false}`)
	}},
	{"deleted Service kubernetes", func(d *dirt) { d.remove(services, "default", "kubernetes") }},
	{"changed Service kubernetes", func(d *dirt) {
		d.patch(services, "default", "kubernetes", `{"metadata":{"labels":{"a":"b"}},"spec":{"sessionAffinity":"ClientIP"}}`)
	}},
	{"deleted address of the Service kubernetes", func(d *dirt) { d.remove(addresses, "", "10.0.0.1") }},
	{"changed cluster role", func(d *dirt) { d.patch(clusterRoles, "", "view", `{"metadata":{"labels":{"a":"b"}}}`) }},
	{"cluster role without rules", func(d *dirt) { d.patch(clusterRoles, "", "system:basic-user", `{"rules":[]}`) }},
	{"deleted cluster roles", func(d *dirt) {
		d.remove(clusterRoles, "", "admin")
		d.remove(clusterRoles, "", "system:discovery")
	}},
	{"deleted cluster role bindings", func(d *dirt) {
		d.must(d.client.RbacV1().ClusterRoleBindings().DeleteCollection(d.t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	}},
	{"binding to another role", func(d *dirt) {
		d.patch(bindings, "", "system:discovery", `{"subjects":[]}`)
	}},
	{"deleted roles of kube-system", func(d *dirt) {
		d.must(d.dynamic.Resource(roles).Namespace("kube-system").DeleteCollection(d.t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	}},
	{"changed priority class", func(d *dirt) {
		d.patch(classes, "", "system-node-critical", `{"metadata":{"annotations":{"a":"b"}}}`)
	}},
	{"changed flow schema", func(d *dirt) {
		d.patch(flowSchemas, "", "service-accounts", `{"spec":{"matchingPrecedence":500}}`)
	}},
	{"flow schema of a level that is not there", func(d *dirt) {
		d.patch(flowSchemas, "", "probes", `{"spec":{"priorityLevelConfiguration":{"name":"nothing"}}}`)
	}},
	{"deleted flow schema and priority level", func(d *dirt) {
		d.remove(flowSchemas, "", "global-default")
		d.remove(levels, "", "global-default")
	}},
	{"changed priority level", func(d *dirt) {
		d.patch(levels, "", "workload-low", `{"spec":{"limited":{"nominalConcurrencyShares":7}}}`)
	}},
	{"deleted API service of a built-in group", func(d *dirt) { d.remove(apiServices, "", "v1.apps") }},
	{"changed API service of a built-in group", func(d *dirt) {
		d.patch(apiServices, "", "v1.batch", `{"spec":{"versionPriority":1}}`)
	}},
	{"deleted service CIDR", func(d *dirt) { d.remove(cidrs, "", "kubernetes") }},
	{"custom resource definition that is deleted", func(d *dirt) {
		d.create(manifestOf(d.t, "CRD with integers"))
		d.remove(definitions, "", "widgets.example.com")
	}},
	{"custom resource definition that cannot go", func(d *dirt) {
		d.create(manifestOf(d.t, "custom resource with a finalizer"))
		d.remove(definitions, "", "widgets.example.com")
	}},
	{"custom resource definition that changes its schema", func(d *dirt) {
		d.create(manifestOf(d.t, "CRD with integers"))
		d.patch(definitions, "", "widgets.example.com", `{"spec":{"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"string"}}}}}}}]}}`)
	}},
	{"custom resource definition that was never established", func(d *dirt) {
		_, err := d.dynamic.Resource(definitions).Create(d.t.Context(), object(d.t, manifestOf(d.t, "CRD without custom resources")), metav1.CreateOptions{})
		d.must(err)
	}},
	{"custom resource that is owned", func(d *dirt) {
		created := d.create(manifestOf(d.t, "CRD with integers"))
		widget := created[len(created)-1]
		_, err := d.client.CoreV1().ConfigMaps("default").Create(d.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: "owned", OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Widget", Name: widget.GetName(), UID: widget.GetUID(), BlockOwnerDeletion: &yes}},
		}}, metav1.CreateOptions{})
		d.must(err)
	}},
	{"garbage on its way", func(d *dirt) {
		owner, err := d.client.CoreV1().ConfigMaps("default").Create(d.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
		d.must(err)
		for i := range 20 {
			_, err := d.client.CoreV1().Secrets("default").Create(d.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
				Name: fmt.Sprint("owned-", i), OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}},
			}}, metav1.CreateOptions{})
			d.must(err)
		}
		d.must(d.client.CoreV1().ConfigMaps("default").Delete(d.t.Context(), "owner", metav1.DeleteOptions{PropagationPolicy: &foreground}))
	}},
	{"many namespaces on their way", func(d *dirt) {
		for i := range 20 {
			name := fmt.Sprint("team-", i)
			d.create("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}")
			if i%2 == 0 {
				d.remove(namespaces, "", name)
			}
		}
	}},
	{"a thousand objects", func(d *dirt) { d.thousand() }},
	{"large objects", func(d *dirt) {
		for i := range 5 {
			_, err := d.client.CoreV1().ConfigMaps("default").Create(d.t.Context(), &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("large-", i)}, BinaryData: map[string][]byte{"b": make([]byte, 900_000)},
			}, metav1.CreateOptions{})
			d.must(err)
		}
	}},
}

// thousand creates a thousand objects.
func (d *dirt) thousand() {
	d.t.Helper()
	for i := range 1000 {
		_, err := d.client.CoreV1().ConfigMaps("default").Create(d.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("one-", i)}}, metav1.CreateOptions{})
		d.must(err)
	}
}

// manifestOf returns the manifest of a dirtyObject.
func manifestOf(t testing.TB, name string) string {
	t.Helper()
	for _, object := range dirtyObjects {
		if object.name == name {
			return object.manifest
		}
	}
	t.Fatalf("no manifest is called %q", name)
	return ""
}

// These have addresses.
var (
	yes        = true
	foreground = metav1.DeletePropagationForeground
)
