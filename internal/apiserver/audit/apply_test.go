// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"os"
	"path/filepath"
	"testing"

	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// TestApplyLeavesNoFiles: the policy is a file for upstream only, also when the log
// cannot be written.
func TestApplyLeavesNoFiles(t *testing.T) {
	logs := t.TempDir()
	if err := os.WriteFile(filepath.Join(logs, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, fails := range map[string]bool{filepath.Join(logs, "audit.log"): false, filepath.Join(logs, "file", "audit.log"): true} {
		dir := t.TempDir()
		options := Options{Log: genericoptions.NewAuditOptions().LogOptions}
		options.Log.Path = path
		c := &genericapiserver.Config{}
		if err := Apply(c, options, dir, &LogFile{}); (err != nil) != fails {
			t.Errorf("%s: got error %v", path, err)
		}
		if !fails && c.AuditPolicyRuleEvaluator == nil {
			t.Error("there is no policy")
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			t.Errorf("%s: got %v, %v, want no files", path, entries, err)
		}
	}
}
