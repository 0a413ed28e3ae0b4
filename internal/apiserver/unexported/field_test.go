// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package unexported_test

import (
	"reflect"
	"testing"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

func TestField(t *testing.T) {
	t.Parallel()
	s := struct{ count int }{count: 1}
	v := reflect.ValueOf(&s).Elem()
	if count := unexported.Field[int](v, "count"); count == nil || *count != 1 || count != &s.count {
		t.Errorf("count: got %v, want its address", count)
	}
	if got := unexported.Field[string](v, "count"); got != nil {
		t.Errorf("a field of another type: got %v, want nil", got)
	}
	if got := unexported.Field[int](v, "other"); got != nil {
		t.Errorf("a missing field: got %v, want nil", got)
	}
	if got := unexported.Field[int](reflect.ValueOf(s), "count"); got != nil {
		t.Errorf("a struct that is not addressable: got %v, want nil", got)
	}
}
