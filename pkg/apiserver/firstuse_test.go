// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/testwait"
)

// TestFirstUse verifies that a custom resource is in use when a client has asked for it
// or when objects are stored from before, and that FirstUse itself does not count as a
// use.
func TestFirstUse(t *testing.T) {
	p := sharedPlane(t)
	const group, stored = "unused.example.com", "stored.example.com"
	widgets := p.widgets(t, group)
	p.widgets(t, stored)
	used := func(group, resource string) bool {
		select {
		case <-p.FirstUse(t.Context(), schema.GroupResource{Group: group, Resource: resource}):
			return true
		default:
			return false
		}
	}
	for _, group := range []string{group, stored} {
		testwait.Until(t, "discovery", func(context.Context) error {
			if p.get(t, "/apis/"+group+"/v1").status != http.StatusOK {
				return errors.New("not in discovery")
			}
			return nil
		})
	}
	key := "/registry/" + stored + "/widgets/default/one"
	if _, err := p.etcd.Client().Put(t.Context(), key, "{}"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = p.etcd.Client().Delete(context.WithoutCancel(t.Context()), key) })
	if used(group, "widgets") {
		t.Error("an unused resource is in use")
	}
	if !used(stored, "widgets") {
		t.Error("a resource with stored objects is not in use")
	}
	if !used("", "pods") || !used("", "nothing") {
		t.Error("a built-in resource is not in use")
	}
	first := p.FirstUse(t.Context(), schema.GroupResource{Group: group, Resource: "widgets"})
	if _, err := widgets.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first:
	default:
		t.Error("a requested resource is not in use")
	}
}
