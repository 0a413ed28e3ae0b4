// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

var permissions = []effect{
	{name: "Role and RoleBinding created → allowed", try: func(t *trial) {
		allowed := t.asUser()
		t.begin()
		t.grant()
		t.repeat(allowed)
	}},
	{name: "RoleBinding deleted → denied", try: func(t *trial) {
		allowed := t.asUser()
		t.grant()
		t.repeat(allowed)
		t.begin()
		t.delete(roleBindings, t.name, background)
		t.repeat(func() (bool, error) {
			is, err := allowed()
			return !is, err
		})
	}},
	{
		name: "ClusterRole created → in the aggregated one",
		before: func(t *trial) {
			t.create(clusterRoles, "effects-aggregated", "aggregationRule: {clusterRoleSelectors: [{matchLabels: {effects: aggregated}}]}")
		},
		try: func(t *trial) {
			w := t.watch(clusterRoles, "effects-aggregated")
			t.begin()
			t.create(clusterRoles, "effects-"+t.name, `{metadata: {labels: {effects: aggregated}}, rules: [{apiGroups: [""], resources: [%s], verbs: [get]}]}`, t.name)
			w.until(func(o *unstructured.Unstructured) bool {
				rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
				for _, r := range rules {
					rule, _ := r.(map[string]any)
					if names, _, _ := unstructured.NestedStringSlice(rule, "resources"); len(names) == 1 && names[0] == t.name {
						return true
					}
				}
				return false
			})
		},
	},
	{name: "ServiceAccount created → its token authenticates", try: func(t *trial) {
		t.begin()
		t.create(serviceAccounts, t.name, "")
		token, err := t.typed.CoreV1().ServiceAccounts(t.namespace).CreateToken(t.ctx, t.name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.fail(fmt.Errorf("create a token: %w", err))
			return
		}
		t.repeat(func() (bool, error) {
			review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token}}
			review, err := t.typed.AuthenticationV1().TokenReviews().Create(t.ctx, review, metav1.CreateOptions{})
			return err == nil && review.Status.Authenticated, err
		})
	}},
	{name: "token Secret created → filled", try: func(t *trial) {
		w := t.watch(secrets, t.name)
		t.begin()
		t.create(secrets, t.name, "{metadata: {annotations: {kubernetes.io/service-account.name: default}}, type: kubernetes.io/service-account-token}")
		w.until(func(o *unstructured.Unstructured) bool { return text(o, "data", "token") != "" })
	}},
}

// asUser returns a request of the trial's user, who has no other permissions. It reports
// whether the user is allowed to send it.
func (t *trial) asUser() func() (bool, error) {
	config := rest.CopyConfig(t.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: t.user()}
	user, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.fail(err)
		return nil
	}
	return func() (bool, error) {
		_, err := user.CoreV1().ConfigMaps(t.namespace).Get(t.ctx, "kube-root-ca.crt", metav1.GetOptions{})
		if apierrors.IsForbidden(err) {
			return false, nil
		}
		return err == nil, err
	}
}

func (t *trial) user() string { return t.namespace + "-" + t.name }

func (t *trial) grant() {
	t.create(roles, t.name, `rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]`)
	t.create(roleBindings, t.name, `
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %s}]`, t.name, t.user())
}
