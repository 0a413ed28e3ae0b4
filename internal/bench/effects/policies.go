// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var policies = []effect{
	{name: "ValidatingAdmissionPolicy created → enforced", try: func(t *trial) {
		t.begin()
		t.validate()
		t.repeat(t.denied)
	}},
	{name: "ValidatingAdmissionPolicy deleted → no longer enforced", try: func(t *trial) {
		t.validate()
		t.repeat(t.denied)
		t.begin()
		t.delete(validatingPolicies, t.policy(), background)
		t.repeat(not(t.denied))
	}},
	{name: "MutatingAdmissionPolicy created → enforced", try: func(t *trial) {
		t.begin()
		t.mutate()
		t.repeat(t.mutated)
	}},
	{name: "MutatingAdmissionPolicy deleted → no longer enforced", try: func(t *trial) {
		t.mutate()
		t.repeat(t.mutated)
		t.begin()
		t.delete(mutatingPolicies, t.policy(), background)
		t.repeat(not(t.mutated))
	}},
}

func not(request func() (bool, error)) func() (bool, error) {
	return func() (bool, error) {
		is, err := request()
		return !is, err
	}
}

// policy is the name of the trial's policy and binding.
func (t *trial) policy() string { return t.namespace + "-" + t.name }

// probes selects the ConfigMaps of the trial: the policy of an earlier trial may still be
// enforced.
const probes = `
    objectSelector: {matchLabels: {probe-of: %s}}
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}`

func (t *trial) validate() {
	t.create(validatingPolicies, t.policy(), `
spec:
  matchConstraints: `+probes+`
  validations: [{expression: "false"}]`, t.policy())
	t.create(validatingBindings, t.policy(), "spec: {policyName: %s, validationActions: [Deny]}", t.policy())
}

func (t *trial) mutate() {
	t.create(mutatingPolicies, t.policy(), `
spec:
  reinvocationPolicy: Never
  matchConstraints: `+probes+`
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"mutated": "yes"}}}'}`, t.policy())
	t.create(mutatingBindings, t.policy(), "spec: {policyName: %s}", t.policy())
}

// denied reports whether a ConfigMap is refused.
func (t *trial) denied() (bool, error) {
	_, err := t.probe()
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		return true, nil
	}
	return false, err
}

// mutated reports whether a ConfigMap gets a label.
func (t *trial) mutated() (bool, error) {
	object, err := t.probe()
	if err != nil {
		return false, err
	}
	return object.GetLabels()["mutated"] == "yes", nil
}

// probe asks for a ConfigMap of the trial.
func (t *trial) probe() (*unstructured.Unstructured, error) {
	return t.dryRun(configMaps, "probe", "metadata: {labels: {probe-of: "+t.policy()+"}}")
}
