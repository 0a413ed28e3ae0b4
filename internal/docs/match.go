// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// Match returns an error with the first line of a page that is missing in an output, or
// not in that order. Other lines may stand between them. Spaces, times, addresses and
// generated parts of names may differ.
func Match(shown, output string) error {
	lines := strings.Split(output, "\n")
	for want := range strings.Lines(shown) {
		if strings.TrimSpace(want) == "" {
			continue
		}
		found := false
		for !found && len(lines) > 0 {
			found = sameLine(want, lines[0])
			lines = lines[1:]
		}
		if !found {
			return fmt.Errorf("not in the output, or not in this place: %q", strings.TrimSpace(want))
		}
	}
	return nil
}

// varies are parts of a line that differ from run to run.
var varies = []*regexp.Regexp{
	regexp.MustCompile(`^([0-9]+(ms|s|m|h|d))+$`),
	regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,3}){3}$`),
	regexp.MustCompile(`^(.*?-)?([bcdf2456789]{8,10}-)?[bcdfghjklmnpqrstvwxz2456789]{5}$`),
}

func sameLine(want, got string) bool {
	a, b := strings.Fields(want), strings.Fields(got)
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] == b[i] || like(varies[0], a[i], b[i]) || like(varies[1], a[i], b[i]) {
			continue
		}
		// Of names with a generated end the beginning is the same.
		x, y := varies[2].FindStringSubmatch(a[i]), varies[2].FindStringSubmatch(b[i])
		if x == nil || y == nil || x[1] == "" || x[1] != y[1] {
			return false
		}
	}
	return true
}

func like(r *regexp.Regexp, a, b string) bool { return r.MatchString(a) && r.MatchString(b) }
