// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestBadFiles: the message about files has all problems.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("kind: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		cfg  controlplanetest.Config
		want []string
	}{
		"CRDs": {controlplanetest.Config{CRDs: controlplanetest.CRDs{Paths: []string{"no-crds"}}}, []string{`CRDs.Paths[0] "no-crds"`}},
		"webhooks": {controlplanetest.Config{Webhooks: controlplanetest.Webhooks{Paths: []string{"no-webhooks", bad}}},
			[]string{`Webhooks.Paths[0] "no-webhooks"`, "bad.yaml"}},
		"nil webhook": {controlplanetest.Config{Webhooks: controlplanetest.Webhooks{Mutating: []*admissionregistrationv1.MutatingWebhookConfiguration{nil}}},
			[]string{"Webhooks.Mutating[0] is nil"}},
		"all at once": {controlplanetest.Config{
			CRDs:     controlplanetest.CRDs{Paths: []string{"no-crds"}},
			Webhooks: controlplanetest.Webhooks{Paths: []string{"no-webhooks"}},
		}, []string{"no-crds", "no-webhooks"}},
	} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			r.run(func(t controlplanetest.TB) { controlplanetest.New(t, test.cfg) })
			for _, want := range test.want {
				if !strings.Contains(r.text(), want) {
					t.Errorf("no %q in: %s", want, r.text())
				}
			}
		})
	}
}
