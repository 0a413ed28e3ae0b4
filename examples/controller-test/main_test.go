// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllertest_test

import (
	"os"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestMain is only needed for controlplanetest.Shared.
func TestMain(m *testing.M) {
	os.Exit(controlplanetest.Main(m, controlplanetest.Config{}))
}
