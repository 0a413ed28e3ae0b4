// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/component-base/compatibility"
)

// TestKubernetesVersionIsThatOfGoMod: /version reports the release that go.mod requires.
func TestKubernetesVersionIsThatOfGoMod(t *testing.T) {
	gomod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`(?m)^\tk8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)$`).FindStringSubmatch(string(gomod))
	if required == nil {
		t.Fatal("go.mod does not require k8s.io/kubernetes")
	}
	if KubernetesVersion != required[1] {
		t.Errorf("KubernetesVersion: got %s, want %s as in go.mod", KubernetesVersion, required[1])
	}
	info := effectiveVersion{compatibility.NewEffectiveVersionFromString("1.0", "1.0", "1.0")}.Info()
	if got := strings.Join([]string{info.Major, info.Minor, info.GitVersion}, " "); got != strings.Join([]string{required[2], required[3], required[1]}, " ") {
		t.Errorf("/version: got %s, want %s as in go.mod", got, required[1])
	}
}
