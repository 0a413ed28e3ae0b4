// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

// TestStatusNamesTests: a control plane is that of its test, or of TestMain if it is
// shared.
func TestStatusNamesTests(t *testing.T) {
	controlplanetest.Shared(t)
	t.Run("own", func(t *testing.T) {
		controlplanetest.New(t, controlplanetest.Config{})
		directory := must(os.Getwd())(t)
		now := status(t)
		for _, test := range []string{"TestMain", "TestStatusNamesTests/own"} {
			if !strings.Contains(now, test+" of "+directory) {
				t.Errorf("got %s, want %s of %s", now, test, directory)
			}
		}
	})
}
