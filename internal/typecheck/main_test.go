// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestErrorsAreAllFound: one run finds all errors: in a test, in an importer of a package
// with errors, and after a missing module. Correct packages have none.
func TestErrorsAreAllFound(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":         "module example.com/m\n\ngo 1.26.0\n",
		"a/a.go":         "package a\n\nfunc A() int { return \"a\" }\n",
		"b/b.go":         "package b\n\nimport \"example.com/m/a\"\n\nvar B string = a.A()\n",
		"b/b_test.go":    "package b_test\n\nimport (\n\t\"testing\"\n\n\t\"example.com/m/b\"\n)\n\nfunc TestB(t *testing.T) { b.C() }\n",
		"c/c.go":         "package c\n\nimport \"example.com/missing\"\n\nvar C = missing.C\n",
		"right/right.go": "package right\n\nimport \"net/http\"\n\nvar Right = http.StatusOK\n",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOWORK", "off")
	var out strings.Builder
	if _, err := run([]string{"./..."}, false, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a.go:3:", "b.go:5:", "b_test.go:9:", "example.com/missing"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no error about %s", want)
		}
	}
	if strings.Contains(out.String(), "right.go") || t.Failed() {
		t.Errorf("got output:\n%s", out.String())
	}
	if failures, err := run([]string{"./right"}, false, &out); failures > 0 || err != nil {
		t.Errorf("right: got %d errors, %v:\n%s", failures, err, out.String())
	}
}
