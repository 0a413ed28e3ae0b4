// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSummary: a page keeps the text around the summary, which is replaced each time.
func TestSummary(t *testing.T) {
	directory := t.TempDir()
	page := filepath.Join(directory, "README.md")
	r := &results{Header: header{{"kubembed", "commit 123, build abc"}}, Measurements: []result{
		{Section: "start", Side: own, Metrics: []metric{{startName, "ms", 100}}},
		{Section: "start", Side: envtest, Metrics: []metric{{startName, "ms", 1600}}},
		{Section: "planes", Side: own, Build: "xyz", Kubernetes: "v1.0.0", Metrics: []metric{{"10: " + furtherPrivate, "MiB", 40}}},
	}}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + summaryBegin + "\nold\n")
	if err := r.summarize(page, directory); err == nil || !strings.Contains(err.Error(), summaryEnd) {
		t.Errorf("page without the end comment: got error %v", err)
	}
	write("before\n" + summaryBegin + "\nold\n" + summaryEnd + "\nafter\n")
	for range 2 {
		if err := r.summarize(page, filepath.Join(directory, "some", "results")); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if !strings.HasPrefix(text, "before\n"+summaryBegin+"\n") || !strings.HasSuffix(text, summaryEnd+"\nafter\n") || strings.Contains(text, "old") {
		t.Errorf("the text around the summary was changed, or the old summary was kept:\n%s", text)
	}
	for _, want := range []string{
		"| 100 ms | 1600 ms envtest | 0.062 | ≤ 0.062 (0.05) | bar |",
		"| 40 MiB |  |  | ≤ 30 MiB (20) | **missed** |",
		"(some/results/start.svg)",
		"commit 123, build abc",
		"(some/results/README.md)",
		"\n" + planesSection.title + ": Measured with build xyz and Kubernetes v1.0.0, on ",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("the summary does not have %q exactly once:\n%s", want, text)
		}
	}
	if strings.Contains(text, "durable.svg") {
		t.Error("the summary has a plot without measurements")
	}
}
