// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import "slices"

// Entry is one place where this project copies upstream, or depends on its internals. It
// needs at least one of Has, Digest, Fields, Users, Exists, and Test.
type Entry struct {
	// Ours is the place in this project: a file from the root of the repository, ":", and
	// the declaration in it that depends on upstream, as in
	// "pkg/apiserver/builtin.go:newBuiltin". Both must exist.
	Ours string
	// Package is the import path of upstream's package. It may be one of Go's own.
	Package string
	// Decl is the declaration in Package: "Func", "(*T).Method", "T.Method", "Type",
	// "Var", "Const", a member of a type: "Interface.Method", "Struct.Field", or a whole
	// file: "file.go". If empty, it is the whole package. Declarations with one name, for
	// several platforms, count as one.
	Decl string

	// Has are fragments of Go that Decl has, in this order. White space does not matter.
	Has []string
	// Digest is the digest of Decl without its comments: for bodies and tables that our
	// code follows.
	Digest string
	// Fields are the names of all fields of the struct type Decl. A new field fails, too.
	Fields []string
	// Users are all declarations of Package that use the identifier Decl, which may be of
	// another package. A new one fails.
	Users []string
	// Exists reports that Decl only has to exist: for a name that our code repeats in a
	// string.
	Exists bool
	// Test names a stronger test, as "pkg/apiserver:TestPriorities": directory and
	// function.
	Test string

	// Look is the sentence to print when upstream differs: the part of Ours to check, and
	// the consequence of ignoring the difference.
	Look string
}

// Entries returns all entries of this package.
func Entries() []Entry {
	return slices.Concat(
		admissionEntries,
		apiserverEntries,
		standinEntries,
		bootstrapEntries,
		componentsEntries,
		copyEntries,
		etcdEntries,
		convergenceEntries,
		processEntries,
		messageEntries,
		settingEntries,
		outgoingEntries,
	)
}

// Differences returns a sentence for each difference between the entries and upstream,
// and for each faulty entry. root is the directory of the repository.
func Differences(root string, entries []Entry) ([]string, error) {
	c, err := newChecker(root, entries)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		for _, difference := range c.differences(e) {
			all = append(all, e.Ours+": "+difference)
		}
	}
	return all, nil
}
