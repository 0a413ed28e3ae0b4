// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package rbacpolicy

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Aggregate gives aggregated ClusterRoles the rules of the roles that they select, in the
// order of upstream's ClusterRole aggregation controller, which then has nothing to
// write.
func Aggregate(roles []rbacv1.ClusterRole) {
	sorted := make([]*rbacv1.ClusterRole, 0, len(roles))
	for i := range roles {
		sorted = append(sorted, &roles[i])
	}
	slices.SortFunc(sorted, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	// An aggregated role may select another aggregated role.
	for changed := true; changed; {
		changed = false
		for _, role := range sorted {
			if role.AggregationRule == nil {
				continue
			}
			if rules := aggregatedRules(role, sorted); !equality.Semantic.DeepEqual(rules, role.Rules) {
				role.Rules, changed = rules, true
			}
		}
	}
}

func aggregatedRules(role *rbacv1.ClusterRole, sorted []*rbacv1.ClusterRole) (rules []rbacv1.PolicyRule) {
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return role.Rules
		}
		for _, other := range sorted {
			if other.Name == role.Name || !selector.Matches(labels.Set(other.Labels)) {
				continue
			}
			for _, rule := range other.Rules {
				if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules
}
