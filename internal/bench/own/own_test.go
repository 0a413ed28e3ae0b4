// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package own has tests with a control plane each.
package own

import (
	"flag"
	"fmt"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/kubembed/kubembed/internal/bench/work"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

var (
	directory = flag.String("crds", "", "directory of CRDs that TestInstall installs")
	result    = flag.String("result", "", "file that TestInstall writes")
)

func TestPackage(t *testing.T) {
	for i := range work.Tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			cp := controlplanetest.New(t, controlplanetest.Config{})
			cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{work.CRD(i)}})
			work.Do(t, cp.ClientConfig(), i)
		})
	}
}

func TestInstall(t *testing.T) {
	if *directory == "" {
		t.Skip("without -crds")
	}
	began := time.Now()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	err := work.MeasureInstall(*result, time.Since(began), func() int {
		return len(cp.InstallCRDs(t, controlplanetest.CRDs{Paths: []string{*directory}}))
	})
	if err != nil {
		t.Fatal(err)
	}
}
