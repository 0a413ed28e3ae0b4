// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package envtest has tests that share one control plane of envtest.
package envtest

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubembed/kubembed/internal/bench/work"
)

var (
	directory = flag.String("crds", "", "directory of CRDs that TestInstall installs")
	result    = flag.String("result", "", "file that TestInstall writes")
)

// start skips the test if there is no kube-apiserver to run.
func start(t *testing.T, env *envtest.Environment) {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set: go run ./internal/bench sets it")
	}
	if _, err := env.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestPackage installs the CRD of each test in the test.
func TestPackage(t *testing.T) {
	env := &envtest.Environment{}
	start(t, env)
	for i := range work.Tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			options := envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{work.CRD(i)}}
			if _, err := envtest.InstallCRDs(env.Config, options); err != nil {
				t.Fatal(err)
			}
			work.Do(t, env.Config, i)
		})
	}
}

// TestInstalledOnce has the CRDs installed before the tests, as most packages do.
func TestInstalledOnce(t *testing.T) {
	env := &envtest.Environment{}
	for i := range work.Tests {
		env.CRDs = append(env.CRDs, work.CRD(i))
	}
	start(t, env)
	for i := range work.Tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			work.Do(t, env.Config, i)
		})
	}
}

func TestInstall(t *testing.T) {
	if *directory == "" {
		t.Skip("without -crds")
	}
	env := &envtest.Environment{}
	began := time.Now()
	start(t, env)
	err := work.MeasureInstall(*result, time.Since(began), func() int {
		installed, err := envtest.InstallCRDs(env.Config, envtest.CRDInstallOptions{Paths: []string{*directory}, ErrorIfPathMissing: true, MaxTime: 10 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return len(installed)
	})
	if err != nil {
		t.Fatal(err)
	}
}
