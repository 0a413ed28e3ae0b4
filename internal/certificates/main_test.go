// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"testing"

	"go.uber.org/goleak"
)

// pkg/controlplane tests approval and signing with an API server.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
