// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const oneSecret = "spec: {hard: {secrets: %q}}"

// secretFits returns a request that reports whether there is room for a Secret. An answer
// without the quota's usage is neither.
func (t *trial) secretFits(want bool) func() (bool, error) {
	return func() (bool, error) {
		_, err := t.dryRun(secrets, "probe", "stringData: {a: b}")
		switch {
		case err == nil:
			return want, nil
		case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
			return !want, nil
		case apierrors.IsForbidden(err):
			return false, nil
		}
		return false, err
	}
}

var quotas = []effect{
	{name: "ResourceQuota created → enforced", try: func(t *trial) {
		t.begin()
		t.create(resourceQuotas, t.name, oneSecret, "0")
		t.repeat(t.secretFits(false))
		t.unmeasured(func() {
			t.delete(resourceQuotas, t.name, background)
			t.repeat(t.secretFits(true))
		})
	}},
	{name: "ResourceQuota created → status", try: func(t *trial) {
		t.create(secrets, t.name, "stringData: {a: b}")
		w := t.watch(resourceQuotas, t.name)
		t.begin()
		t.create(resourceQuotas, t.name, oneSecret, "1")
		w.until(quotaUsed("1"))
	}},
	{name: "object of a full ResourceQuota deleted → room again", try: func(t *trial) {
		t.create(secrets, t.name, "stringData: {a: b}")
		w := t.watch(resourceQuotas, t.name)
		t.create(resourceQuotas, t.name, oneSecret, "1")
		w.until(quotaUsed("1"))
		t.repeat(t.secretFits(false))
		t.begin()
		t.delete(secrets, t.name, background)
		t.repeat(t.secretFits(true))
	}},
}

func quotaUsed(n string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool { return text(o, "status", "used", "secrets") == n }
}
