// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

// invalid returns a number of validation errors for every object.
type invalid struct {
	rest.RESTCreateStrategy
	errors int
}

func (i invalid) Validate(context.Context, runtime.Object) (errs field.ErrorList) {
	for range i.errors {
		errs = append(errs, field.Required(field.NewPath("spec"), ""))
	}
	return errs
}

// subresource keeps a store as upstream's subresources do.
type subresource struct{ store *registry.Store }

func (subresource) New() runtime.Object { return nil }
func (subresource) Destroy()            {}

// TestLimitErrors verifies that a store of a subresource, too, reports 100 errors and the
// number of those left out, and that fewer errors are not changed.
func TestLimitErrors(t *testing.T) {
	t.Parallel()
	for errors, want := range map[int]int{0: 0, 100: 100, 5000: 101} {
		store := &registry.Store{CreateStrategy: invalid{errors: errors}}
		for range 2 { // storage may be shared by versions
			decorate(subresource{store})
		}
		errs := store.CreateStrategy.Validate(t.Context(), nil)
		if len(errs) != want {
			t.Errorf("%d errors: got %d, want %d", errors, len(errs), want)
		}
		if errors == 5000 && !strings.Contains(errs[100].Error(), "4900 more problems") {
			t.Errorf("last of 5000 errors: got %v, want the number of the other 4900", errs[100])
		}
	}
}
