// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const group = "effects.example.com"

var definitions = []effect{
	{name: "CRD created → first custom resource accepted", try: func(t *trial) {
		t.begin()
		t.define("created" + t.letters(""))
	}},
	{
		name: "CRD changed → new field kept",
		try: func(t *trial) {
			kind := "changed" + t.letters("")
			t.define(kind)
			t.create(custom(kind), "custom", "spec: {a: x}")
			t.begin()
			t.patch(crds, crdName(kind), schemaOf(kind, "{a: {type: string}, b: {type: string}}"))
			t.repeat(func() (bool, error) {
				object, err := t.of(custom(kind), t.namespace).Patch(t.ctx, "custom", types.MergePatchType, []byte(`{"spec":{"b":"y"}}`), metav1.PatchOptions{})
				return err == nil && text(object, "spec", "b") == "y", err
			})
		},
	},
	{name: "CRD with a custom resource deleted → gone", try: func(t *trial) {
		kind := "deleted" + t.letters("")
		t.define(kind)
		t.create(custom(kind), "custom", "spec: {a: x}")
		gone := t.watch(crds, crdName(kind))
		t.begin()
		t.delete(crds, crdName(kind), background)
		gone.deleted()
	}},
	{name: "owner of a new CRD deleted (background) → dependent gone", try: newOwner(background)},
	{name: "owner of a new CRD deleted (foreground) → dependent gone", try: newOwner(foreground)},
}

// letters returns the name of the trial, and another text, as part of the name of a kind.
func (t *trial) letters(more string) string {
	return strings.ToLower(strings.ReplaceAll(t.name, "-", "") + more)
}

// custom returns the resource of a CRD of this package. The name of its kind is in lower
// case letters.
func custom(kind string) resource { return resource{group + "/v1", kind + "s", kind, false} }

func crdName(kind string) string { return kind + "s." + group }

func schemaOf(kind, properties string) string {
	return fmt.Sprintf(`
spec:
  group: %s
  scope: Namespaced
  names: {plural: %ss, singular: %[2]s, kind: %[2]s, listKind: %[2]slist}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: %s}}}}`, group, kind, properties)
}

// define creates a CRD and waits until the first custom resource is accepted. That one
// stays until the CRD is gone.
func (t *trial) define(kind string) {
	t.create(crds, crdName(kind), "%s", schemaOf(kind, "{a: {type: string}}"))
	object, err := custom(kind).object("first", "spec: {a: x}")
	if err != nil {
		t.fail(err)
	}
	t.repeat(func() (bool, error) {
		_, err := t.of(custom(kind), t.namespace).Create(t.ctx, object, metav1.CreateOptions{})
		return err == nil, ignoreNotFound(err)
	})
}
