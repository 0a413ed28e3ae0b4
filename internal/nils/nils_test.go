// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package nils_test

import (
	"net/http"
	"testing"

	"github.com/kubembed/kubembed/internal/nils"
)

func TestIs(t *testing.T) {
	for _, value := range []any{nil, (*http.ServeMux)(nil), http.HandlerFunc(nil)} {
		if !nils.Is(value) {
			t.Errorf("%T: got false", value)
		}
	}
	for _, value := range []any{http.NewServeMux(), http.HandlerFunc(http.NotFound), http.Header(nil), []int(nil), 0, struct{}{}} {
		if nils.Is(value) {
			t.Errorf("%T: got true", value)
		}
	}
}
