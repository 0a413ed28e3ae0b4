// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// checker compares entries with the sources, and parses each source once.
type checker struct {
	root        string            // of the repository
	directories map[string]string // of upstream's packages
	parsed      map[string]*source
}

// newChecker locates the packages of the entries.
func newChecker(root string, entries []Entry) (*checker, error) {
	var packages []string
	for _, e := range entries {
		if e.Package != "" {
			packages = append(packages, e.Package)
		}
	}
	slices.Sort(packages)
	found, err := directories(root, slices.Compact(packages))
	if err != nil {
		return nil, err
	}
	return &checker{root: root, directories: found, parsed: map[string]*source{}}, nil
}

// differences returns a sentence for each difference, including faults of the entry
// itself.
func (c *checker) differences(e Entry) []string {
	var all []string
	if err := c.checkEntry(e); err != nil {
		all = append(all, fmt.Sprintf("The entry is wrong: %v.", err))
	}
	if e.Package == "" {
		return all
	}
	for _, difference := range c.checkUpstream(e) {
		all = append(all, difference+" "+e.Look)
	}
	return all
}

// checkEntry checks our side: the entry itself, and that the declarations of this project
// that it names exist.
func (c *checker) checkEntry(e Entry) error {
	if e.Look == "" {
		return errors.New("it has no Look")
	}
	if e.Package == "" && e.Test == "" {
		return errors.New("it has neither Package nor Test")
	}
	if len(e.Has) == 0 && e.Digest == "" && len(e.Fields) == 0 && len(e.Users) == 0 && !e.Exists && e.Test == "" {
		if text, err := c.upstreamText(e); err == nil {
			return fmt.Errorf("it has nothing to compare; the Digest of %s is %q", e.place(), digest(text))
		}
		return errors.New("it has nothing to compare")
	}
	if len(e.Users) > 0 && (len(e.Has) > 0 || e.Digest != "" || len(e.Fields) > 0 || e.Exists) {
		return errors.New("it has Users, beside which nothing else of Decl is compared")
	}
	path, decl, _ := strings.Cut(e.Ours, ":")
	ours, err := c.parse(filepath.Join(c.root, filepath.FromSlash(path)), parseFile)
	if err != nil {
		return fmt.Errorf("its Ours: %w", err)
	}
	if _, err := ours.find(decl); err != nil {
		return fmt.Errorf("its Ours: %s %w: %s", path, err, decl)
	}
	if e.Test == "" {
		return nil
	}
	return c.checkTest(e.Test)
}

// checkTest checks that a test exists.
func (c *checker) checkTest(name string) error {
	directory, function, _ := strings.Cut(name, ":")
	paths, err := filepath.Glob(filepath.Join(c.root, filepath.FromSlash(directory), "*_test.go"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		test, err := c.parse(path, parseFile)
		if err != nil {
			return fmt.Errorf("its Test: %w", err)
		}
		if _, err := test.find(function); err == nil {
			return nil
		}
	}
	return fmt.Errorf("its Test: %s has no test %s", directory, function)
}

// checkUpstream compares upstream's declaration with the entry.
func (c *checker) checkUpstream(e Entry) []string {
	place := e.place()
	directory, ok := c.directories[e.Package]
	if !ok {
		return []string{fmt.Sprintf("Package %s is gone.", e.Package)}
	}
	theirs, err := c.parse(directory, parseDirectory)
	if err != nil {
		return []string{fmt.Sprintf("Package %s cannot be read: %v.", e.Package, err)}
	}
	if len(e.Users) > 0 {
		return sets(place, "users", e.Users, theirs.users(e.Decl))
	}
	nodes, err := theirs.find(e.Decl)
	if err != nil {
		return []string{fmt.Sprintf("%s is gone.", place)}
	}
	text, err := theirs.text(nodes)
	if err != nil {
		return []string{fmt.Sprintf("%s cannot be printed: %v.", place, err)}
	}

	var all []string
	if fragment, ok := missing(text, e.Has); ok {
		all = append(all, fmt.Sprintf("%s no longer has, in this place, %q.", place, fragment))
	}
	if got := digest(text); e.Digest != "" && e.Digest != got {
		all = append(all, fmt.Sprintf("%s differs (its digest is now %q).", place, got))
	}
	if len(e.Fields) > 0 {
		fields, err := fieldsOf(nodes)
		if err != nil {
			return append(all, fmt.Sprintf("%s %v.", place, err))
		}
		all = append(all, sets(place, "fields", e.Fields, fields)...)
	}
	return all
}

// sets compares the entry's names with upstream's.
func sets(place, what string, ours, theirs []string) []string {
	var all []string
	if added := without(theirs, ours); len(added) > 0 {
		all = append(all, fmt.Sprintf("%s has new %s: %s.", place, what, strings.Join(added, ", ")))
	}
	if gone := without(ours, theirs); len(gone) > 0 {
		all = append(all, fmt.Sprintf("%s no longer has the %s %s.", place, what, strings.Join(gone, ", ")))
	}
	return all
}

// upstreamText returns the text of upstream's declaration.
func (c *checker) upstreamText(e Entry) (string, error) {
	theirs, err := c.parse(c.directories[e.Package], parseDirectory)
	if err != nil {
		return "", err
	}
	nodes, err := theirs.find(e.Decl)
	if err != nil {
		return "", err
	}
	return theirs.text(nodes)
}

func (c *checker) parse(path string, parse func(string) (*source, error)) (*source, error) {
	if parsed, ok := c.parsed[path]; ok {
		return parsed, nil
	}
	parsed, err := parse(path)
	if err == nil {
		c.parsed[path] = parsed
	}
	return parsed, err
}

func (e Entry) place() string {
	if e.Decl == "" {
		return "Package " + e.Package
	}
	return e.Package + ": " + e.Decl
}

// missing returns the first fragment that the text does not have after the earlier ones.
func missing(text string, fragments []string) (string, bool) {
	for _, fragment := range fragments {
		_, after, ok := strings.Cut(text, squeeze(fragment))
		if !ok {
			return fragment, true
		}
		text = after
	}
	return "", false
}

// without returns the elements of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
