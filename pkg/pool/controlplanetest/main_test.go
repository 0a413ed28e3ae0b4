// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
	"github.com/kubembed/kubembed/pkg/pool/internal/testprogram"
)

// childVariable is set in test processes that a test starts.
const childVariable = "KUBEMBED_TEST_CHILD"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(childVariable) == "" {
		end, err := testprogram.Use("../../..")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer end()
	}
	return controlplanetest.Main(m, controlplanetest.Config{})
}
