// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/klogbridge"
	kubeleaks "github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

func TestMain(m *testing.M) {
	// As in pkg/controlplane: upstream's output is dropped.
	detach := klogbridge.Attach(zap.NewNop())
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the shared server:", err)
		code = 1
	}
	if code == 0 {
		if err := leaks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	_ = detach() // goroutines that are ending may still log
	os.Exit(code)
}

// leaks finds goroutines that stopped servers have left. Some goroutines of upstream only
// notice the stop at their next request.
func leaks() (err error) {
	for deadline := time.Now().Add(waitTimeout); time.Now().Before(deadline); {
		// Find itself retries for about a second.
		if err = goleak.Find(append(kubeleaks.Ignored(),
			// TestMain's own goroutine.
			goleak.IgnoreAnyFunction("github.com/kubembed/kubembed/internal/logqueue.(*Queue).work"),
		)...); err == nil {
			return nil
		}
	}
	return err
}
