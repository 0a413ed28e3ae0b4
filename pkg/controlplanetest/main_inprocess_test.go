// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	kubeleaks "github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// children are run by this binary when it is started with their name: test binaries
// whose tests fail on purpose, see child_test.go.
var children = map[string]func(m *testing.M) int{
	"child":              func(m *testing.M) int { return controlplanetest.Main(m, controlplanetest.Config{}) },
	"child-without-main": func(m *testing.M) int { return m.Run() },
	"child-bad-config": func(m *testing.M) int {
		var cfg controlplanetest.Config
		cfg.ControlPlane.ServiceCIDR = "nonsense"
		return controlplanetest.Main(m, cfg)
	},
	"child-envtest": func(m *testing.M) int {
		return controlplanetest.Main(m, controlplanetest.Config{BehaveLikeEnvtest: true})
	},
	"child-keep": func(m *testing.M) int {
		return controlplanetest.Main(m, controlplanetest.Config{KeepOnFailure: true})
	},
}

func TestMain(m *testing.M) {
	if main, ok := children[filepath.Base(os.Args[0])]; ok {
		os.Exit(main(m))
	}
	code := controlplanetest.Main(m, controlplanetest.Config{Audit: true})
	if code == 0 {
		if err := leaks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// leaks returns an error if a stopped control plane has left goroutines.
func leaks() error {
	return goleak.Find(kubeleaks.Ignored()...)
}
