// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	background = metav1.DeletePropagationBackground
	foreground = metav1.DeletePropagationForeground
)

var owners = []effect{
	{name: "owner deleted (background) → dependent gone", try: builtInOwner(background)},
	{name: "owner deleted (foreground) → dependent gone", try: builtInOwner(foreground)},
}

func builtInOwner(policy metav1.DeletionPropagation) func(*trial) {
	return func(t *trial) {
		t.ownerDeleted(configMaps, "owner-"+t.name, "data: {role: owner}", policy)
	}
}

// newOwner makes the owner a custom resource of a CRD that the trial has just created.
func newOwner(policy metav1.DeletionPropagation) func(*trial) {
	return func(t *trial) {
		t.rest() // and not while the collector finds the CRD
		kind := "owner" + t.letters(string(policy))
		t.define(kind)
		t.ownerDeleted(custom(kind), "owner", "spec: {a: x}", policy)
	}
}

// ownerDeleted creates an owner and a ConfigMap that depends on it, and deletes the
// owner.
func (t *trial) ownerDeleted(r resource, name, body string, policy metav1.DeletionPropagation) {
	owner := t.create(r, name, "%s", body)
	t.depend(owner)
	gone := t.watch(configMaps, t.name)
	t.begin()
	t.delete(r, name, policy)
	gone.deleted()
}

func (t *trial) depend(owner *unstructured.Unstructured) {
	t.create(configMaps, t.name, `
metadata:
  ownerReferences:
  - {apiVersion: %s, kind: %s, name: %s, uid: %s, blockOwnerDeletion: true}
data: {role: dependent}`, owner.GetAPIVersion(), owner.GetKind(), owner.GetName(), owner.GetUID())
}
