// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestMakeIsBounded: a plugin that blocks does not block the server that is made.
func TestMakeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		making := Making{Context: t.Context(), Timeout: time.Minute, Logger: zap.NewNop()}
		released := make(chan struct{})
		defer close(released)
		for name, c := range map[string]struct {
			plugin func()
			value  string
			err    string
		}{
			"slow":   {func() { time.Sleep(time.Minute - 1) }, "made", "<nil>"},
			"blocks": {func() { <-released }, "", "has not returned within 1m0s"},
		} {
			value, err := Make(making, func() (string, error) { c.plugin(); return "made", nil })
			if value != c.value || fmt.Sprint(err) != c.err {
				t.Errorf("%s: got %q, %v, want %q, %s", name, value, err, c.value, c.err)
			}
		}
	})
}
