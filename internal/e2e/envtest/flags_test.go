// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// The program accepts every flag of kube-apiserver, also ignored ones.
func TestEveryFlagIsKnown(t *testing.T) {
	out, err := exec.Command(filepath.Join(assets(t), "kube-apiserver"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([\w-]+)`).FindAllSubmatch(out, -1) {
		known[string(m[1])] = true
	}
	flags := options.NewServerRunOptions().Flags()
	for _, set := range flags.FlagSets {
		set.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Deprecated == "" && !known[f.Name] {
				t.Errorf("--%s", f.Name)
			}
		})
	}
	if len(known) < 150 {
		t.Errorf("%d flags", len(known))
	}
}
