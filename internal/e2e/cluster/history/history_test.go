// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// at returns a call of the key k from start to end.
func at(start, end time.Duration, c Call) Call {
	c.Start, c.End, c.Key = start, end, "k"
	if c.Member == "" {
		c.Member = "one"
	}
	return c
}

func create(value string, version uint64) Call {
	return Call{Op: Create, Value: value, Version: version, Outcome: OK}
}

func get(value string, version uint64) Call {
	return Call{Op: Get, Read: value, Version: version, Outcome: OK}
}

func update(expect uint64, value string, version uint64) Call {
	return Call{Op: Update, Expect: expect, Value: value, Version: version, Outcome: OK}
}

func remove(expect uint64) Call { return Call{Op: Delete, Expect: expect, Outcome: OK} }

// but returns the call with another answer.
func but(outcome Outcome, c Call) Call {
	c.Outcome, c.Read, c.Version = outcome, "", 0
	return c
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		calls []Call
		bad   bool
	}{
		"one after the other": {calls: []Call{
			at(0, 1, but(NotFound, get("", 0))), at(2, 3, create("a", 5)), at(4, 5, get("a", 5)), at(6, 7, update(5, "b", 8)),
			at(8, 9, but(Conflict, update(5, "c", 0))), at(10, 11, but(Exists, create("d", 0))), at(12, 13, but(Conflict, remove(5))),
			at(14, 15, remove(8)), at(16, 17, but(NotFound, get("", 0))), at(18, 19, but(NotFound, update(8, "e", 0))),
			at(20, 21, but(NotFound, remove(0))), at(22, 23, create("f", 12)), at(24, 25, remove(0)),
		}},
		"at once, either first": {calls: []Call{at(0, 10, create("a", 5)), at(1, 9, but(NotFound, get("", 0))), at(2, 8, get("a", 5))}},
		"an acknowledged write is lost": {bad: true, calls: []Call{
			at(0, 1, create("a", 5)), at(2, 3, but(NotFound, get("", 0))),
		}},
		"an acknowledged update is lost": {bad: true, calls: []Call{
			at(0, 1, create("a", 5)), at(2, 3, update(5, "b", 6)), at(4, 5, get("a", 5)),
		}},
		"an acknowledged deletion is lost": {bad: true, calls: []Call{
			at(0, 1, create("a", 5)), at(2, 3, remove(0)), at(4, 5, get("a", 5)),
		}},
		"a stale read":                 {bad: true, calls: []Call{at(0, 1, create("a", 5)), at(2, 9, update(5, "b", 6)), at(3, 4, get("b", 6)), at(5, 6, get("a", 5))}},
		"a read of the future":         {bad: true, calls: []Call{at(0, 1, get("a", 5)), at(2, 3, create("a", 5))}},
		"a read of nobody's":           {bad: true, calls: []Call{at(0, 1, create("a", 5)), at(2, 3, get("x", 5))}},
		"two updates of one version":   {bad: true, calls: []Call{at(0, 1, create("a", 5)), at(2, 9, update(5, "b", 6)), at(2, 9, update(5, "c", 7))}},
		"two create one object":        {bad: true, calls: []Call{at(0, 9, create("a", 5)), at(0, 9, create("b", 6))}},
		"a conflict with itself":       {bad: true, calls: []Call{at(0, 1, create("a", 5)), at(2, 3, but(Conflict, update(5, "b", 0)))}},
		"it exists, says a lie":        {bad: true, calls: []Call{at(0, 1, but(Exists, create("a", 0)))}},
		"versions fall":                {bad: true, calls: []Call{at(0, 1, create("a", 5)), at(2, 3, update(5, "b", 4))}},
		"versions fall after deletion": {bad: true, calls: []Call{at(0, 1, create("a", 5)), at(2, 3, remove(0)), at(4, 5, create("b", 5))}},
		"a read tells another version": {bad: true, calls: []Call{at(0, 1, create("a", 5)), at(2, 3, get("a", 6))}},
		"a deletion that is refused":   {bad: true, calls: []Call{at(0, 1, create("a", 5)), at(2, 3, but(Conflict, remove(0)))}},

		"no answer, and done":       {calls: []Call{at(0, 1, but(Unknown, create("a", 0))), at(2, 3, get("a", 5))}},
		"no answer, and not done":   {calls: []Call{at(0, 1, but(Unknown, create("a", 0))), at(2, 3, but(NotFound, get("", 0)))}},
		"no answer, and done late":  {calls: []Call{at(0, 1, but(Unknown, create("a", 0))), at(2, 3, but(NotFound, get("", 0))), at(4, 5, get("a", 5))}},
		"no answer, done unseen":    {calls: []Call{at(0, 1, create("a", 5)), at(2, 3, but(Unknown, update(5, "b", 0))), at(4, 5, but(Conflict, update(5, "c", 0)))}},
		"no answer to a deletion":   {calls: []Call{at(0, 1, create("a", 5)), at(2, 3, but(Unknown, remove(0))), at(4, 5, get("a", 5)), at(6, 7, create("b", 9))}},
		"no answer, updated on top": {calls: []Call{at(0, 1, but(Unknown, create("a", 0))), at(2, 3, get("a", 5)), at(4, 5, update(5, "b", 6)), at(6, 7, get("b", 6))}},
		"no answer, done twice": {bad: true, calls: []Call{
			at(0, 1, but(Unknown, create("a", 0))), at(2, 3, get("a", 5)), at(4, 5, remove(0)), at(6, 7, get("a", 9)),
		}},
		"no answer, done and gone": {bad: true, calls: []Call{
			at(0, 1, but(Unknown, create("a", 0))), at(2, 3, get("a", 5)), at(4, 5, but(NotFound, get("", 0))),
		}},
		"no answer, done before it began": {bad: true, calls: []Call{at(0, 1, get("a", 5)), at(2, 3, but(Unknown, create("a", 0)))}},
		"no answer, done on another version": {bad: true, calls: []Call{
			at(0, 1, create("a", 5)), at(2, 3, update(5, "b", 6)), at(4, 5, but(Unknown, update(5, "c", 0))), at(6, 7, get("c", 8)),
		}},
		"no answer, at the version of before": {bad: true, calls: []Call{
			at(0, 1, create("a", 5)), at(2, 3, but(Unknown, update(5, "b", 0))), at(4, 5, get("b", 5)),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := Check(test.calls, time.Minute)
			if r.OK() == test.bad || len(r.Undecided) > 0 {
				t.Errorf("%s", r)
			}
			if !test.bad {
				return
			}
			path := filepath.Join(t.TempDir(), "k.html")
			if err := r.Visualize("k", path, time.Minute); err != nil {
				t.Error(err)
			}
			page, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(page), test.calls[0].String()) {
				t.Errorf("the page does not show %s: %v", test.calls[0], err)
			}
		})
	}
}

// TestCheckLong checks as many calls without an answer as a fault causes for one key.
func TestCheckLong(t *testing.T) {
	var calls []Call
	version, now := uint64(1), time.Duration(0)
	add := func(c Call) {
		now += 2
		calls = append(calls, at(now, now+1, c))
	}
	add(create("v1", 1))
	for i := range 200 {
		if i%25 == 0 {
			add(but(Unknown, update(version, fmt.Sprintf("open%d", i), 0)))
			add(but(Unknown, create(fmt.Sprintf("new%d", i), 0)))
		}
		version++
		add(update(version-1, fmt.Sprintf("v%d", version), version))
		add(get(fmt.Sprintf("v%d", version), version))
	}
	if r := Check(calls, time.Minute); !r.OK() {
		t.Error(r)
	}
	calls = append(calls, at(now+4, now+5, get("v2", 2)))
	if r := Check(calls, time.Minute); len(r.Bad) != 1 {
		t.Errorf("a stale read at the end is not found: %s", r)
	}
}

func TestCheckVersions(t *testing.T) {
	first, second := at(0, 1, create("a", 5)), at(2, 3, create("b", 6))
	second.Key = "l"
	low := second
	low.Version = 4
	twice := second
	twice.Version = 5
	for name, test := range map[string]struct {
		calls []Call
		lists []List
		want  string
	}{
		"in order":   {calls: []Call{second, first}, lists: []List{{Start: 4, End: 5, Version: 6}}},
		"at once":    {calls: []Call{at(0, 9, create("a", 5)), low}},
		"falls":      {calls: []Call{first, low}, want: "began"},
		"twice":      {calls: []Call{first, twice}, want: "the same version"},
		"stale list": {calls: []Call{first, second}, lists: []List{{Start: 4, End: 5, Version: 5}}, want: "list"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(CheckVersions(test.calls, test.lists), "\n")
			if (got != "") != (test.want != "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q", got)
			}
		})
	}
}
