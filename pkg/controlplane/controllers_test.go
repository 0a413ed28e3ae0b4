// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// isGone returns nil if err is that of a request for a deleted object.
func isGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("the object exists, or: %v", err)
}

// unexpected is an error that shows values.
func unexpected(values ...any) error { return errors.New(fmt.Sprint(values...)) }

func createNamespace(t testing.TB, client kubernetes.Interface, name string) {
	t.Helper()
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestNewNamespace: a pod can be created in it at once, with a service account and the
// root CA.
func TestNewNamespace(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	createNamespace(t, client, "new")
	pod, err := client.CoreV1().Pods("new").Create(t.Context(), newPod("first"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if pod.Spec.ServiceAccountName != "default" || len(pod.Spec.Volumes) != 1 || pod.Spec.Volumes[0].Projected == nil {
		t.Errorf("pod: got %+v, want the service account default and its token", pod.Spec)
	}
	testwait.Until(t, "the root CA", func(context.Context) error {
		ca, err := client.CoreV1().ConfigMaps("new").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil || ca.Data["ca.crt"] != string(server.CABundle()) {
			return unexpected(ca, err)
		}
		return nil
	})
}

// TestSystemNamespacesAreComplete right after Start, without waiting for a
// controller.
func TestSystemNamespacesAreComplete(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	for _, namespace := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		ca, err := client.CoreV1().ConfigMaps(namespace).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil || ca.Data["ca.crt"] != string(server.CABundle()) {
			t.Errorf("kube-root-ca.crt in %s: got %+v, %v, want the CA of the control plane", namespace, ca, err)
		}
	}
	for _, name := range []string{"admin", "edit", "view"} {
		role, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || len(role.Rules) == 0 {
			t.Errorf("clusterrole %s: got rules %+v, error %v, want rules", name, role.Rules, err)
		}
	}
}

// TestAggregatedClusterRole: one more rule for the role view. The controller writes the
// rules of the start and this one.
func TestAggregatedClusterRole(t *testing.T) {
	client := admin(t, start(t, controlplane.Config{}))
	before := map[string][]rbacv1.PolicyRule{}
	roles := []string{"view", "edit", "admin"}
	for _, name := range roles {
		role, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		before[name] = role.Rules
	}
	rule := rbacv1.PolicyRule{APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"get"}}
	_, err := client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		// Last in the order, so that its rules are last.
		ObjectMeta: metav1.ObjectMeta{Name: "zz-widgets", Labels: map[string]string{
			"rbac.authorization.k8s.io/aggregate-to-view": "true", "rbac.authorization.k8s.io/aggregate-to-edit": "true", "rbac.authorization.k8s.io/aggregate-to-admin": "true"}},
		Rules: []rbacv1.PolicyRule{rule},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var after []rbacv1.PolicyRule
	testwait.Until(t, "the rule in view", func(context.Context) error {
		role, err := client.RbacV1().ClusterRoles().Get(t.Context(), "view", metav1.GetOptions{})
		if err != nil || !hasRule(role.Rules, rule) {
			return unexpected(err)
		}
		after = role.Rules
		return nil
	})
	if got, want := fmt.Sprint(after), fmt.Sprint(append(before["view"], rule)); got != want {
		t.Errorf("view: got %s, want the rules of before and the new one: %s", got, want)
	}
	for _, name := range roles[1:] {
		testwait.Until(t, "the rule in "+name, func(context.Context) error {
			role, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
			if err != nil || !hasRule(role.Rules, rule) || len(role.Rules) != len(before[name])+1 {
				return unexpected(err, role.Rules)
			}
			return nil
		})
	}
}

// TestNothingIsLeftToAggregate: a start writes the same rules in the same order as the
// controller.
func TestNothingIsLeftToAggregate(t *testing.T) {
	client := admin(t, start(t, controlplane.Config{}))
	read := func(name string) *rbacv1.ClusterRole {
		role, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return role
	}
	roles := []*rbacv1.ClusterRole{read("view"), read("edit")} // at the beginning
	// When the second of these has reached the role admin, the controller has
	// looked at every role.
	for _, name := range []string{"first", "second"} {
		rule := rbacv1.PolicyRule{APIGroups: []string{"example.com"}, Resources: []string{name}, Verbs: []string{"get"}}
		_, err := client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-admin": "true"}},
			Rules:      []rbacv1.PolicyRule{rule},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		testwait.Until(t, "the rule in admin", func(context.Context) error {
			role, err := client.RbacV1().ClusterRoles().Get(t.Context(), "admin", metav1.GetOptions{})
			if err != nil || !hasRule(role.Rules, rule) {
				return unexpected(err)
			}
			return nil
		})
	}
	for _, role := range roles {
		if now := read(role.Name); now.ResourceVersion != role.ResourceVersion {
			t.Errorf("clusterrole %s: got %v, want it as it was at resource version %s", role.Name, now, role.ResourceVersion)
		}
	}
}

func hasRule(rules []rbacv1.PolicyRule, rule rbacv1.PolicyRule) bool {
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return r.String() == rule.String() })
}

// TestTokenSecret: a token Secret is filled, and its token is valid.
func TestTokenSecret(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	_, err := client.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var token string
	testwait.Until(t, "the token", func(context.Context) error {
		secret, err := client.CoreV1().Secrets("default").Get(t.Context(), "token", metav1.GetOptions{})
		if err != nil || string(secret.Data["ca.crt"]) != string(server.CABundle()) || string(secret.Data["namespace"]) != "default" {
			return unexpected(secret, err)
		}
		token = string(secret.Data["token"])
		return nil
	})
	config := server.ClientConfig()
	config.BearerToken = token
	// The authenticator sees the Secret a moment later.
	testwait.Until(t, "a request of the service account", func(context.Context) error {
		_, err = clientFor(t, config).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:default:default") {
			return unexpected(err)
		}
		return nil
	})
}

// TestResourceQuota: quotas are computed, for custom resources too, and enforced.
func TestResourceQuota(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	createWidgets(t, server)
	hard := corev1.ResourceList{"pods": resource.MustParse("1"), "count/widgets.example.com": resource.MustParse("5"), "count/deployments.apps": resource.MustParse("0")}
	_, err := client.CoreV1().ResourceQuotas("default").Create(t.Context(),
		&corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	used := func(name, want string) {
		t.Helper()
		testwait.Object(t, testwait.Named(client.CoreV1().RESTClient(), "resourcequotas", "default", "few"), &corev1.ResourceQuota{}, func(quota *corev1.ResourceQuota) bool {
			used, ok := quota.Status.Used[corev1.ResourceName(name)]
			return ok && used.String() == want
		})
	}
	used("pods", "0")
	createPod(t, client, "first")
	used("pods", "1")
	_, err = client.CoreV1().Pods("default").Create(t.Context(), newPod("second"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
		t.Errorf("one pod too many: got %v, want exceeded quota", err)
	}
	if err := client.CoreV1().Pods("default").Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	used("pods", "0")
	// Only the controller detects the deletion of the first one.
	used("count/widgets.example.com", "0")
	if _, err := widgets(t, server).Create(t.Context(), newWidget("one"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	used("count/widgets.example.com", "1")
	if err := widgets(t, server).Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	used("count/widgets.example.com", "0")
}

// fill creates 20 objects of each of ten kinds in a namespace, and as many
// widgets.
func fill(t *testing.T, server *controlplane.Server, namespace string) {
	t.Helper()
	client, ctx := admin(t, server), t.Context()
	dynamicClient, err := dynamic.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app": "x"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("x").Spec}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	job := template
	job.Spec.RestartPolicy = corev1.RestartPolicyNever
	for i := range 20 {
		meta := metav1.ObjectMeta{Name: fmt.Sprint("x-", i)}
		for _, create := range []func() error{
			func() error {
				_, err := client.CoreV1().Pods(namespace).Create(ctx, newPod(meta.Name), metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: meta}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: meta}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.BatchV1().Jobs(namespace).Create(ctx, &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: job}}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.NetworkingV1().NetworkPolicies(namespace).Create(ctx, &networkingv1.NetworkPolicy{ObjectMeta: meta}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, &policyv1.PodDisruptionBudget{ObjectMeta: meta, Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector}}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := client.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta}, metav1.CreateOptions{})
				return err
			},
			func() error {
				_, err := dynamicClient.Resource(widgetResource).Namespace(namespace).Create(ctx, newWidget(meta.Name), metav1.CreateOptions{})
				return err
			},
		} {
			if err := create(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func deleteNamespace(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	if err := client.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func wantNamespaceGone(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	testwait.Until(t, "namespace "+name, func(context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		return isGone(err)
	})
}

// TestNamespaceDeletion deletes 220 objects of eleven kinds.
func TestNamespaceDeletion(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	createWidgets(t, server)
	createNamespace(t, client, "full")
	fill(t, server, "full")
	createPod(t, client, "elsewhere")
	deleteNamespace(t, client, "full")
	wantNamespaceGone(t, client, "full")
	// A new namespace with the same name is empty.
	createNamespace(t, client, "full")
	list, err := client.CoreV1().Pods("full").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("pods: got %v, %v, want none", list.Items, err)
	}
	if got := podNames(t, client); !slices.Equal(got, []string{"elsewhere"}) {
		t.Errorf("pods: got %v, want [elsewhere]", got)
	}
}

// TestNamespaceDeletionIsFinishedAfterRestart: a restart finishes a deletion that a stop
// has interrupted.
func TestNamespaceDeletionIsFinishedAfterRestart(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir()}
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	createWidgets(t, server)
	createNamespace(t, admin(t, server), "full")
	fill(t, server, "full")
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept", Finalizers: []string{"example.com/kept"}}}
	if _, err := admin(t, server).CoreV1().ConfigMaps("full").Create(t.Context(), kept, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deleteNamespace(t, admin(t, server), "full")
	closeServer(t, server)

	client := admin(t, start(t, cfg))
	namespace, err := client.CoreV1().Namespaces().Get(t.Context(), "full", metav1.GetOptions{})
	if err != nil || namespace.Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("namespace: got %+v, %v, want Terminating: the deletion was not interrupted", namespace, err)
	}
	kept.Finalizers = nil
	if _, err := client.CoreV1().ConfigMaps("full").Update(t.Context(), kept, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantNamespaceGone(t, client, "full")
}

// TestWithoutCoreControllers: without the core controllers none of their work is done.
func TestWithoutCoreControllers(t *testing.T) {
	server := start(t, controlplane.Config{DisableCoreControllers: true})
	client := admin(t, server)
	pod := createPod(t, client, "first")
	if pod.Spec.ServiceAccountName != "" {
		t.Errorf("service account of the pod: got %q, want none", pod.Spec.ServiceAccountName)
	}
	accounts, err := client.CoreV1().ServiceAccounts("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(accounts.Items) != 0 {
		t.Errorf("service accounts: got %v, %v, want none", accounts.Items, err)
	}
	for _, name := range []string{"internal/controllers.", "internal/certificates."} {
		if runs(name) {
			t.Errorf("got goroutines of %s, want none", name)
		}
	}
}
