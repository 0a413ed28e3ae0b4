// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// behaviour are the effects of a cluster on the objects of a test that envtest does not
// have.
type behaviour struct {
	account, rootCA, quota, aggregated, collected, namespaceGone bool
	taint                                                        bool   // of a new Node
	podAccount                                                   string // of a new pod
}

var (
	likeCluster = behaviour{account: true, rootCA: true, quota: true, aggregated: true, collected: true, namespaceGone: true, podAccount: "default"}
	likeEnvtest = behaviour{taint: true}
)

// createObjects creates the objects for observe, like a test with envtest.
func createObjects(ctx context.Context, client kubernetes.Interface, name string) (node *corev1.Node, b behaviour, err error) {
	fail := func(what string, err error) (*corev1.Node, behaviour, error) {
		return nil, b, fmt.Errorf("%s: %w", what, err)
	}
	for _, namespace := range []string{name, name + "-deleted"} {
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
			return fail("namespace", err)
		}
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, name+"-deleted", metav1.DeleteOptions{}); err != nil {
		return fail("namespace", err)
	}
	if _, err := client.CoreV1().ResourceQuotas(name).Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "quota"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("5")}}}, metav1.CreateOptions{}); err != nil {
		return fail("quota", err)
	}
	if _, err := client.CoreV1().ConfigMaps(name).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owned",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "nobody", UID: "made-up"}}}}, metav1.CreateOptions{}); err != nil {
		return fail("owned ConfigMap", err)
	}
	node, err = client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		return fail("node", err)
	}
	b.taint = len(node.Spec.Taints) > 0
	var pod *corev1.Pod
	err = poll(ctx, func() bool { // until the service account or the quota exists
		pod, err = client.CoreV1().Pods(name).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod"},
			Spec: corev1.PodSpec{NodeName: name, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
		return !apierrors.IsForbidden(err)
	})
	if err != nil || pod == nil {
		return fail("pod", err)
	}
	b.podAccount = pod.Spec.ServiceAccountName
	return node, b, nil
}

// observe waits until the control plane behaves as want, or for the time in which a
// cluster would.
func observe(t controlplanetest.TB, client kubernetes.Interface, name string, b behaviour, enough <-chan struct{}) behaviour {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = poll(ctx, func() bool {
		_, err := client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		b.account = err == nil
		_, err = client.CoreV1().ConfigMaps(name).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		b.rootCA = err == nil
		quota, err := client.CoreV1().ResourceQuotas(name).Get(ctx, "quota", metav1.GetOptions{})
		b.quota = err == nil && len(quota.Status.Hard) > 0
		role, err := client.RbacV1().ClusterRoles().Get(ctx, "view", metav1.GetOptions{})
		b.aggregated = err == nil && len(role.Rules) > 0
		_, err = client.CoreV1().ConfigMaps(name).Get(ctx, "owned", metav1.GetOptions{})
		b.collected = apierrors.IsNotFound(err)
		_, err = client.CoreV1().Namespaces().Get(ctx, name+"-deleted", metav1.GetOptions{})
		b.namespaceGone = apierrors.IsNotFound(err)
		if b == likeCluster {
			return true
		}
		select {
		case <-enough:
			return true
		default:
			return false
		}
	})
	return b
}

// TestBehaveLikeEnvtest compares the effects on the objects of a test with the field
// and without, also after a Reset.
func TestBehaveLikeEnvtest(t *testing.T) {
	t.Parallel()
	cluster := controlplanetest.New(t, controlplanetest.Config{})
	envtest := controlplanetest.New(t, controlplanetest.Config{BehaveLikeEnvtest: true})
	enough := make(chan struct{})
	check := func(what string, plane *controlplanetest.ControlPlane, want behaviour) {
		t.Helper()
		client := kubernetes.NewForConfigOrDie(plane.ClientConfig())
		node, b, err := createObjects(t.Context(), client, "name")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := observe(t, client, "name", b, enough); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
		node.Labels = map[string]string{"changed-by": "the-test"}
		if _, err := client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Errorf("%s: update of a Node as it was created: %v", what, err)
		}
	}
	check("like a cluster", cluster, likeCluster)
	close(enough) // the slowest effect has happened in the other control plane
	check("like envtest", envtest, likeEnvtest)
	envtest.Reset(t)
	check("like envtest after Reset", envtest, likeEnvtest)

	// A node is not restricted to its own objects: envtest has no NodeRestriction,
	// which refuses labels with this prefix.
	nodeClient := kubernetes.NewForConfigOrDie(envtest.UserConfig(t, "system:node:n1", "system:nodes", "system:masters"))
	if _, err := nodeClient.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "another",
		Labels: map[string]string{"node-restriction.kubernetes.io/x": "y"}}}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

// Plugins that the user names take precedence.
func TestBehaveLikeEnvtestAndPlugins(t *testing.T) {
	t.Parallel()
	cfg := controlplanetest.Config{BehaveLikeEnvtest: true}
	cfg.ControlPlane.DisableAdmissionPlugins = []string{"TaintNodesByCondition"}
	cfg.ControlPlane.EnableAdmissionPlugins = []string{"ServiceAccount"}
	cp := controlplanetest.New(t, cfg)
	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	node, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	if err != nil || len(node.Spec.Taints) > 0 {
		t.Errorf("%v, taints %v", err, node.Spec.Taints)
	}
	if _, err := tryPod(t.Context(), client, "default"); !apierrors.IsForbidden(err) {
		t.Errorf("a pod without a service account: %v", err)
	}
	// Authorization is unchanged.
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "delete", Resource: "nodes"}}}
	answer, err := kubernetes.NewForConfigOrDie(cp.UserConfig(t, "jane")).AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil || answer.Status.Allowed {
		t.Errorf("jane may delete nodes: %v", err)
	}
}

func tryPod(ctx context.Context, client kubernetes.Interface, namespace string) (*corev1.Pod, error) {
	return client.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
}

// namesIn returns the objects of a namespace that the test did not create.
func namesIn(ctx context.Context, client kubernetes.Interface, namespace string) (names []string, err error) {
	accounts, err := client.CoreV1().ServiceAccounts(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	configMaps, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, account := range accounts.Items {
		names = append(names, "serviceaccounts/"+account.Name)
	}
	for _, configMap := range configMaps.Items {
		names = append(names, "configmaps/"+configMap.Name)
	}
	return slices.Sorted(slices.Values(names)), nil
}

// poll calls condition until it returns true or ctx ends.
func poll(ctx context.Context, condition func() bool) error {
	return wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, func(context.Context) (bool, error) { return condition(), nil })
}
