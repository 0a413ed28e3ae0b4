// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}
