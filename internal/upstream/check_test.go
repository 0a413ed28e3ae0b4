// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"strings"
	"testing"
)

const theirs = "github.com/kubembed/kubembed/internal/upstream/testdata/theirs"

// TestDifferences compares each kind of entry with a small package.
func TestDifferences(t *testing.T) {
	c, err := newChecker("../..", []Entry{{Package: theirs}, {Package: theirs + "/gone"}, {Package: "example.com/gone/package"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		entry Entry
		want  string // in the only difference; empty if there is none
	}{
		{"method", Entry{Decl: "(*Options).Run", Has: []string{"o.one()", `o.two( "a text" )`}}, ""},
		{"order", Entry{Decl: "(*Options).Run", Has: []string{"o.two(", "o.one()"}}, `no longer has, in this place, "o.one()"`},
		{"comments do not count", Entry{Decl: "(*Options).Run", Has: []string{"a comment"}}, "no longer has"},
		{"value receiver", Entry{Decl: "Other.Value", Has: []string{"return Second"}}, ""},
		{"method of an interface", Entry{Decl: "Doer.Do", Has: []string{"func(ctx context.Context) error"}}, ""},
		{"embedded field", Entry{Decl: "Options.Other", Has: []string{"*Other"}}, ""},
		{"field", Entry{Decl: "Options.B", Has: []string{`int`, `json:"a"`}}, ""},
		{"constant", Entry{Decl: "Second", Has: []string{"iota + 1"}}, ""},
		{"variable", Entry{Decl: "Other2", Has: []string{"100, First"}}, ""},
		{"file", Entry{Decl: "theirs.go", Has: []string{"type Doer interface"}}, ""},
		{"package", Entry{Has: []string{"type Doer interface"}}, ""},
		{"exists", Entry{Decl: "Limit", Exists: true}, ""},
		{"declaration that is gone", Entry{Decl: "(*Options).three", Exists: true}, theirs + ": (*Options).three is gone. Look there."},
		{"package that is gone", Entry{Package: theirs + "/gone", Decl: "F", Exists: true}, "Package " + theirs + "/gone is gone. Look there."},
		{"module that is gone", Entry{Package: "example.com/gone/package", Decl: "F", Exists: true}, "Package example.com/gone/package is gone."},
		{"fields", Entry{Decl: "Options", Fields: []string{"Context", "Other", "A", "B", "C"}}, ""},
		{"new field", Entry{Decl: "Options", Fields: []string{"Context", "Other", "A", "C"}}, "has new fields: B."},
		{"field that is gone", Entry{Decl: "Options", Fields: []string{"Context", "Other", "A", "B", "C", "D"}}, "no longer has the fields D."},
		{"fields of no struct", Entry{Decl: "Doer", Fields: []string{"Do"}}, "is not a struct"},
		{"users", Entry{Decl: "one", Users: []string{"(*Options).Run", "(*Options).two"}}, ""},
		{"users of a constant", Entry{Decl: "First", Users: []string{"Limit"}}, ""},
		{"new user", Entry{Decl: "one", Users: []string{"(*Options).Run"}}, "has new users: (*Options).two."},
		{"user that is gone", Entry{Decl: "two", Users: []string{"(*Options).Run", "(*Options).three"}}, "no longer has the users (*Options).three."},
		{"digest", Entry{Decl: "(*Options).Run", Digest: "0"}, "differs (its digest is now "},
		{"nothing to compare", Entry{Decl: "Limit"}, "nothing to compare; the Digest of "},
		{"our file is gone", Entry{Ours: "internal/upstream/gone.go", Decl: "Limit", Exists: true}, "The entry is wrong: its Ours: "},
		{"our declaration is gone", Entry{Ours: "internal/upstream/entry.go:Gone", Decl: "Limit", Exists: true}, "has no such declaration: Gone"},
		{"test", Entry{Decl: "Limit", Test: "internal/upstream:TestDrift"}, ""},
		{"test that is gone", Entry{Decl: "Limit", Test: "internal/upstream:TestGone"}, "has no test TestGone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := test.entry
			e.Look = "Look there."
			if e.Ours == "" {
				e.Ours = "internal/upstream/entry.go:Entry"
			}
			if e.Package == "" {
				e.Package = theirs
			}
			got := c.differences(e)
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestEntriesFail: every entry fails when upstream differs from it.
func TestEntriesFail(t *testing.T) {
	entries := Entries()
	c, err := newChecker("../..", entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(c.differences(e)) > 0 {
			continue // TestDrift reports it
		}
		for what, broken := range broken(e) {
			if len(c.differences(broken)) == 0 {
				t.Errorf("%s: %s: no failure with other %s", e.Ours, e.place(), what)
			}
		}
	}
}

// broken returns copies of an entry that differ from upstream.
func broken(e Entry) map[string]Entry {
	all := map[string]Entry{}
	for i := range e.Has {
		b := e
		b.Has = append([]string(nil), e.Has...)
		b.Has[i] += "§"
		all["text "+e.Has[i]] = b
	}
	if b := e; e.Digest != "" {
		b.Digest = "0"
		all["digest"] = b
	}
	if b := e; len(e.Fields) > 0 {
		b.Fields = e.Fields[1:]
		all["fields"] = b
	}
	if b := e; len(e.Users) > 0 {
		b.Users = e.Users[1:]
		all["users"] = b
	}
	if b := e; e.Exists {
		b.Decl += "§"
		all["declaration"] = b
	}
	if b := e; e.Test != "" {
		b.Test += "§"
		all["test"] = b
	}
	return all
}
