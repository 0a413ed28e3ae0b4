// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// earlierSide marks the sides of the other checkout.
const earlierSide = ", before"

// ownSides are the sides that run this library.
var ownSides = []string{own, inProcess, durableOwn, bare}

// against returns the section with the sides of this library, each next to the same side
// of the other checkout. It reports whether there are any.
func (s section) against() (section, bool) {
	var sides []string
	s.ratios = nil
	for _, side := range s.sides {
		if slices.Contains(ownSides, side) {
			sides = append(sides, side, side+earlierSide)
			s.ratios = append(s.ratios, [2]string{side, side + earlierSide})
		}
	}
	s.sides = sides
	return s, len(sides) > 0
}

func againstAll(all []section) (compared []section) {
	for _, s := range all {
		if s, ok := s.against(); ok {
			compared = append(compared, s)
		}
	}
	return compared
}

// againstEarlier reports whether the results are from a run with -against.
func (r *results) againstEarlier() bool {
	return slices.ContainsFunc(r.Measurements, func(m result) bool { return strings.HasSuffix(m.Side, earlierSide) })
}

// sections returns the sections of the report.
func (r *results) sections() []section {
	if r.againstEarlier() {
		return againstAll(sections)
	}
	return sections
}

// earlier returns the paths of the other checkout, and the name of the side in it.
func (p paths) earlier(side string) (paths, string) {
	side, ok := strings.CutSuffix(side, earlierSide)
	if ok {
		p.Module, p.Suffix = p.Against, earlierSuffix
	}
	return p, side
}

// earlierSuffix ends the names of the other checkout's programs.
const earlierSuffix = ".before"

// findAgainst returns the directory of this module in the other checkout.
func findAgainst(checkout string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(checkout, "internal", "bench"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return "", fmt.Errorf("-against: %s is not a checkout of this repository: %w", checkout, errors.Unwrap(err))
	}
	return dir, nil
}
