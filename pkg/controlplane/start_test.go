// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestReadyWhenStartReturns sends each request once, right after Start.
func TestReadyWhenStartReturns(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	ctx := t.Context()

	for _, path := range []string{"/readyz", "/livez", "/healthz"} {
		if body, err := client.RESTClient().Get().AbsPath(path).DoRaw(ctx); err != nil || string(body) != "ok" {
			t.Errorf("%s: got %q, %v, want ok", path, body, err)
		}
	}
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		namespace, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if err != nil || namespace.Status.Phase != corev1.NamespaceActive {
			t.Errorf("namespace %s: got %+v, %v, want it active", name, namespace, err)
		}
	}
	for what, get := range map[string]func() error{
		"clusterrole cluster-admin": func() error {
			_, err := client.RbacV1().ClusterRoles().Get(ctx, "cluster-admin", metav1.GetOptions{})
			return err
		},
		"clusterrole system:node": func() error {
			_, err := client.RbacV1().ClusterRoles().Get(ctx, "system:node", metav1.GetOptions{})
			return err
		},
		"clusterrole system:controller:job-controller": func() error {
			_, err := client.RbacV1().ClusterRoles().Get(ctx, "system:controller:job-controller", metav1.GetOptions{})
			return err
		},
		"clusterrolebinding cluster-admin": func() error {
			_, err := client.RbacV1().ClusterRoleBindings().Get(ctx, "cluster-admin", metav1.GetOptions{})
			return err
		},
		"role extension-apiserver-authentication-reader": func() error {
			_, err := client.RbacV1().Roles("kube-system").Get(ctx, "extension-apiserver-authentication-reader", metav1.GetOptions{})
			return err
		},
		"rolebinding system:controller:bootstrap-signer": func() error {
			_, err := client.RbacV1().RoleBindings("kube-public").Get(ctx, "system:controller:bootstrap-signer", metav1.GetOptions{})
			return err
		},
		"priorityclass system-node-critical": func() error {
			_, err := client.SchedulingV1().PriorityClasses().Get(ctx, "system-node-critical", metav1.GetOptions{})
			return err
		},
		"flowschema exempt": func() error {
			_, err := client.FlowcontrolV1().FlowSchemas().Get(ctx, "exempt", metav1.GetOptions{})
			return err
		},
		"flowschema service-accounts": func() error {
			_, err := client.FlowcontrolV1().FlowSchemas().Get(ctx, "service-accounts", metav1.GetOptions{})
			return err
		},
		"prioritylevelconfiguration workload-low": func() error {
			_, err := client.FlowcontrolV1().PriorityLevelConfigurations().Get(ctx, "workload-low", metav1.GetOptions{})
			return err
		},
		"servicecidr kubernetes": func() error {
			_, err := client.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
			return err
		},
	} {
		if err := get(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	pod := createPod(t, client, "first")
	if pod.UID == "" || pod.Status.Phase != corev1.PodPending {
		t.Errorf("the first pod: got %+v, want a UID and the phase Pending", pod)
	}
	if got := podNames(t, client); !slices.Equal(got, []string{"first"}) {
		t.Errorf("pods: got %v, want [first]", got)
	}
}

func TestVersion(t *testing.T) {
	version, err := admin(t, start(t, controlplane.Config{})).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if version.GitVersion != apiserver.KubernetesVersion || !strings.HasPrefix(apiserver.KubernetesVersion, "v"+version.Major+"."+version.Minor+".") {
		t.Errorf("%+v, want %s", version, apiserver.KubernetesVersion)
	}
}

// TestEveryGroupIsServed reads discovery, which kubectl and controllers depend on, right
// after Start.
func TestEveryGroupIsServed(t *testing.T) {
	client := admin(t, start(t, controlplane.Config{}))
	groups, resources, err := client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	var names, kinds []string
	for _, group := range groups {
		names = append(names, group.Name)
	}
	for _, list := range resources {
		for _, resource := range list.APIResources {
			kinds = append(kinds, list.GroupVersion+" "+resource.Name)
		}
	}
	for _, want := range []string{
		"", "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps", "authentication.k8s.io",
		"authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io",
		"events.k8s.io", "flowcontrol.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io", "policy",
		"rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("groups: got no %q, want it served", want)
		}
	}
	for _, want := range []string{
		"v1 pods", "v1 pods/log", "v1 nodes/status", "v1 services", "apps/v1 deployments", "apps/v1 deployments/scale",
		"batch/v1 cronjobs", "apiextensions.k8s.io/v1 customresourcedefinitions", "apiregistration.k8s.io/v1 apiservices",
	} {
		if !slices.Contains(kinds, want) {
			t.Errorf("resources: got no %s, want it served", want)
		}
	}
}

// TestRuntimeConfigSwitchesGroupsOff serves little more than pods and nodes.
func TestRuntimeConfigSwitchesGroupsOff(t *testing.T) {
	client := admin(t, start(t, controlplane.Config{RuntimeConfig: map[string]string{"api/all": "false", "v1": "true"}}))
	createPod(t, client, "first")
	_, err := client.AppsV1().Deployments("default").List(t.Context(), metav1.ListOptions{})
	wantStatus(t, "deployments", err, 404)
}
