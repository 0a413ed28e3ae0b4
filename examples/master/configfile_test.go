// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func configFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigFile(t *testing.T) {
	path := configFile(t, `# comments and empty lines are fine

data-dir: /var/lib/master
scheduler: true
controllers: "true"
simulated-nodes: 4
hosts:
- master.example.com
- 192.0.2.1
encryption-resources: secrets,configmaps
encryption-key-file: key
join-lifetime: 7d
v: 2
bind-address: ::1
`)
	opts, err := parse([]string{"--config", path, "--data-dir=mine", "--controllers=false", "--hosts=other"})
	if err != nil {
		t.Fatal(err)
	}
	if opts.dataDir != "mine" || opts.controllers || !slices.Equal(opts.hosts, []string{"other"}) {
		t.Errorf("flags do not win: %+v", opts)
	}
	if !opts.scheduler || opts.simulatedNodes != 4 || opts.joinLifetime != 7*24*time.Hour || opts.verbosity != 2 || opts.bindAddress != "[::1]:6443" ||
		!slices.Equal(opts.encryptionResources, []string{"secrets", "configmaps"}) || !slices.Equal(opts.encryptionKeyFiles, []string{"key"}) {
		t.Errorf("the file is not followed: %+v", opts)
	}
	for _, nothing := range []string{"", "# nothing\n", "---\n", "{}\n"} {
		if _, err := parse([]string{"--config", configFile(t, nothing)}); err != nil {
			t.Errorf("%q: %v", nothing, err)
		}
	}
}

func TestConfigFileIsStrict(t *testing.T) {
	for content, want := range map[string][]string{
		"data-dirr: x\n": {"master.yaml:1:", `unknown name "data-dirr"`, "did you mean data-dir?"},
		"scheduler: true\n\ndataDir: x\nv: 1\nlots: 1\n": {"master.yaml:3:", `"dataDir"`, "master.yaml:5:", `"lots"`},
		"\nv: 1\nv: 2\n":                    {"master.yaml:3:", "v is in line 2 already"},
		"scheduler: yes please\n":           {"master.yaml:1:", `scheduler: "yes please"`, "true or false"},
		"simulated-nodes: 1.5\n":            {"master.yaml:1:", `simulated-nodes: "1.5"`, "whole number"},
		"v: 1\n\njoin-lifetime: 1d:\n":      {"yaml: line "},
		"join-lifetime: 3y\n":               {"master.yaml:1:", `join-lifetime: "3y"`, "units d"},
		"data-dir:\n":                       {"master.yaml:1:", "data-dir: the value is missing"},
		"data-dir: [a, b]\n":                {"master.yaml:1:", "data-dir: must be one value"},
		"hosts: {a: b}\n":                   {"master.yaml:1:", "hosts: must be one value"},
		"- data-dir\n":                      {"line 1", "data-dir: /var/lib/master"},
		"data-dir\n":                        {"line 1", "data-dir: /var/lib/master"},
		"config: other\n":                   {"master.yaml:1:", "command line"},
		"help: true\n":                      {"master.yaml:1:", "command line"},
		"v: 1\n---\nv: 2\n":                 {"one YAML document"},
		"\tv: 1\n":                          {"yaml:"},
		"snapshot-interval: 1h\nv: -1\n":    {"master.yaml:2:", `v: "-1"`},
		"--data-dir: x\n":                   {"master.yaml:1:", `"--data-dir"`, "did you mean data-dir?"},
		"v: much # also if a flag has it\n": {"master.yaml:1:", `v: "much"`},
	} {
		_, err := parse([]string{"--v=1", "--config", configFile(t, content)})
		if err == nil {
			t.Errorf("no error for\n%s", content)
			continue
		}
		if exitCode(err) != 2 {
			t.Errorf("exit code %d for: %v", exitCode(err), err)
		}
		for _, text := range append(want, "--config: ") {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q is not in %q for\n%s", text, err, content)
			}
		}
	}
}

// The file uses the names of the command line.
func TestConfigFileHasAllFlags(t *testing.T) {
	new(options).flagSet().VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" || f.Name == "help" || f.Name == "version" {
			return
		}
		_, err := parse([]string{"--config", configFile(t, f.Name+": '1'\n")})
		if err != nil && strings.Contains(err.Error(), "unknown") {
			t.Error(err)
		}
	})
}
