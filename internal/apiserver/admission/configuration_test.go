// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
)

const podSecurity = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n"

// written writes a file with the given mode.
func written(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func admissionFile(plugin, path string) string {
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: " + plugin + ", path: " + path + "}]\n"
}

// TestFilesOfOthers verifies that files which other users may write do not configure
// admission.
func TestFilesOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	dir := t.TempDir()
	for _, name := range []string{"private", "open"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	written(t, filepath.Join(dir, "private", "webhook.yaml"), "", 0o666)
	if err := os.Chmod(filepath.Join(dir, "open"), 0o777); err != nil { //nolint:gosec // that is the test
		t.Fatal(err)
	}
	written(t, filepath.Join(dir, "good.yaml"), podSecurity, 0o644)
	written(t, filepath.Join(dir, "bad.yaml"), podSecurity, 0o664)
	manifests := func(name string) string {
		return written(t, filepath.Join(dir, name+".yaml"), "apiVersion: apiserver.config.k8s.io/v1\nkind: WebhookAdmissionConfiguration\nstaticManifestsDir: "+filepath.Join(dir, name)+"\n", 0o600)
	}
	for name, c := range map[string]struct {
		plugin, path string
		mode         os.FileMode
		want         string
	}{
		"good":                    {"PodSecurity", "good.yaml", 0o644, ""},
		"the configuration":       {"PodSecurity", "good.yaml", 0o666, "configuration.yaml: other users"},
		"the file of a plugin":    {"PodSecurity", "bad.yaml", 0o644, "bad.yaml: other users"},
		"a directory of webhooks": {"ValidatingAdmissionWebhook", manifests("open"), 0o644, "staticManifestsDir: " + filepath.Join(dir, "open") + ": other users"},
		"a webhook":               {"ValidatingAdmissionWebhook", manifests("private"), 0o644, "webhook.yaml: other users"},
	} {
		file := written(t, filepath.Join(dir, "configuration.yaml"), admissionFile(c.plugin, c.path), c.mode)
		configuration, errs := FromFile(field.NewPath("File"), file, nil)
		if len(errs) == 0 {
			errs = configuration.Validate([]string{c.plugin}, nil)
		}
		if err := errs.ToAggregate(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestWriteInARelativeDirectory: upstream looks for relative paths beside the file that
// has them, and ends the process if it does not find one.
func TestWriteInARelativeDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	written(t, "good.yaml", podSecurity, 0o600)
	written(t, "configuration.yaml", admissionFile("PodSecurity", "good.yaml"), 0o600)
	configuration, errs := FromFile(field.NewPath("File"), "configuration.yaml", nil)
	if len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	file, err := configuration.Write("data", []string{"PodSecurity"})
	if err != nil {
		t.Fatal(err)
	}
	read, err := admission.ReadAdmissionConfiguration([]string{"PodSecurity"}, file, configScheme)
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := read.ConfigFor("PodSecurity")
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(plugin); err != nil || string(content) != podSecurity {
		t.Errorf("got %q, %v", content, err)
	}
}
