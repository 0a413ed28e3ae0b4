// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/e2e/durable/history"
)

var (
	a = history.Key{Kind: "configmaps", Namespace: "one", Name: "a"}
	b = history.Key{Kind: "configmaps", Namespace: "one", Name: "b"}
	c = history.Key{Kind: "configmaps", Namespace: "two", Name: "c"}
)

// written returns a Log with: a created, updated (10, 12); b created, deleted, with
// version 15 unknown (11); c created (13), its update 7 in flight.
func written() *history.Log {
	l := history.New()
	write(l, a, 1, 10, "A")
	write(l, b, 2, 11, "B")
	write(l, a, 3, 12, "A")
	write(l, c, 4, 13, "C")
	write(l, b, 0, 0, "")
	l.Begin(c, 7)
	return l
}

func write(l *history.Log, key history.Key, stamp int64, version uint64, uid string) {
	above := l.Begin(key, stamp)
	l.Acknowledged(key, above, version, uid)
}

// shown returns the expected objects.
func shown() map[history.Key]history.State {
	return map[history.Key]history.State{a: {3, 12, "A"}, c: {4, 13, "C"}}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		version uint64
		change  map[history.Key]history.State // zero removes the object
		want    string
	}{
		"all is there":           {version: 20},
		"in flight has happened": {version: 20, change: map[history.Key]history.State{c: {7, 16, "C"}}},
		"created is lost":        {20, map[history.Key]history.State{c: {}}, "lost: write 4"},
		"update is lost":         {20, map[history.Key]history.State{a: {1, 10, "A"}}, "lost: write 3 at version 12; the older write 1 is back"},
		"deletion is lost":       {20, map[history.Key]history.State{b: {2, 11, "B"}}, "lost: the deletion; write 2"},
		"never written":          {20, map[history.Key]history.State{{Name: "x"}: {9, 9, "X"}}, "nobody wrote it"},
		"wrong stamp":            {20, map[history.Key]history.State{a: {8, 12, "A"}}, "which it never got"},
		"other version":          {20, map[history.Key]history.State{a: {3, 11, "A"}}, "and was version 12"},
		"other UID":              {20, map[history.Key]history.State{a: {3, 12, "Z"}}, "UID Z"},
		"in flight is another":   {20, map[history.Key]history.State{c: {7, 16, "Z"}}, "was in flight"},
		"in flight goes back":    {20, map[history.Key]history.State{c: {7, 13, "C"}}, "was in flight"},
		"versions fell":          {12, nil, "resource versions fell"},
	} {
		t.Run(name, func(t *testing.T) {
			l, now := written(), shown()
			maps.Copy(now, test.change)
			maps.DeleteFunc(now, func(_ history.Key, s history.State) bool { return s == history.State{} })
			if checked := l.Check(test.version, now); checked != 3 {
				t.Errorf("%d objects are checked", checked)
			}
			want(t, l, test.want)
			// From now on the Log expects the state that it has seen.
			before := len(l.Found())
			l.Check(20, now)
			if after := l.Found(); len(after) != before {
				t.Errorf("found again: %v", after[before:])
			}
		})
	}
}

func TestWriteAtOldVersion(t *testing.T) {
	l := written()
	l.Told(50)
	write(l, a, 9, 50, "A")
	want(t, l, "after version 50 had been told")
}

func TestUpdateMakesAnotherObject(t *testing.T) {
	l := written()
	write(l, a, 9, 20, "Z")
	want(t, l, "made UID Z of A")
}

func TestRefusedHasNotHappened(t *testing.T) {
	l := written()
	l.Refused(c)
	now := shown()
	now[c] = history.State{Stamp: 7, Version: 16, UID: "C"}
	l.Check(20, now)
	want(t, l, "stamp 7, which it never got")
}

// all returns the events of a watch of written from version 9 on.
func all() []history.Event {
	return []history.Event{
		{Key: a, Stamp: 1, Version: 10, Added: true},
		{Key: b, Stamp: 2, Version: 11, Added: true},
		{Key: a, Stamp: 3, Version: 12},
		{Key: c, Stamp: 4, Version: 13, Added: true},
		{Key: b, Version: 15},
	}
}

func TestCheckWatches(t *testing.T) {
	without := func(i int) []history.Event { return append(all()[:i:i], all()[i+1:]...) }
	with := func(i int, e history.Event) []history.Event {
		return append(append(all()[:i:i], e), all()[i:]...)
	}
	swapped := all()
	swapped[1], swapped[2] = swapped[2], swapped[1]
	for name, test := range map[string]struct {
		events []history.Event
		want   string
	}{
		"all":               {all(), ""},
		"one twice":         {with(3, all()[2]), "version 12 after one of version 12"},
		"out of order":      {swapped, "version 11 after one of version 12"},
		"first is missing":  {without(0), "write 3 at version 12 where write 1"},
		"middle is missing": {without(3), "no event of write 4 at version 13"},
		"deleted unseen":    {without(4), "no event of write 0"},
		"not written":       {with(5, history.Event{Key: a, Stamp: 9, Version: 16}), "has not happened"},
		"rolled back":       {with(5, history.Event{Key: c, Stamp: 7, Version: 16}), "has not happened"},
		"of nobody":         {with(5, history.Event{Key: history.Key{Kind: "configmaps", Name: "x"}, Version: 16}), "nobody wrote"},
		"wrong kind":        {with(5, history.Event{Key: b, Version: 16}), "has not happened"},
	} {
		t.Run(name, func(t *testing.T) {
			l := written()
			l.Check(20, shown())
			w := &history.Watch{Kind: "configmaps"}
			w.Begin(9)
			for _, e := range test.events {
				w.Event(e)
			}
			w.Progress(21)
			l.CheckWatches(w)
			want(t, l, test.want)
		})
	}
}

// A watch that got 410 Gone may miss the events in between.
func TestGapIsNoLoss(t *testing.T) {
	l := written()
	l.Check(20, shown())
	w := &history.Watch{Kind: "configmaps"}
	w.Begin(9)
	w.Event(all()[0])
	w.Begin(14)
	w.Event(all()[4])
	other := &history.Watch{Kind: "pods"}
	other.Begin(1)
	other.Progress(30)
	l.CheckWatches(w, other)
	want(t, l, "")
}

// A watch shows an update of an object that another watch shows as added.
func TestUpdateShownAsAdded(t *testing.T) {
	l := written()
	l.Check(20, shown())
	w := &history.Watch{Kind: "configmaps"}
	w.Begin(11)
	w.Event(history.Event{Key: a, Stamp: 3, Version: 12, Added: true})
	l.CheckWatches(w)
	want(t, l, "says added: true")
}

func TestHalfAnObject(t *testing.T) {
	content := history.Content(5, 3000)
	if stamp, err := history.Stamp(content); err != nil || stamp != 5 {
		t.Fatal(stamp, err)
	}
	for key := range content {
		for _, value := range []string{"", "7", content[key][1:]} {
			half := maps.Clone(content)
			half[key] = value
			if _, err := history.Stamp(half); err == nil {
				t.Errorf("%s = %.10q is not noticed", key, value)
			}
		}
	}
}

// want requires that all findings contain a text, or that there are none if it is
// empty.
func want(t *testing.T, l *history.Log, want string) {
	t.Helper()
	found := l.Found()
	if want == "" && len(found) > 0 || want != "" && len(found) == 0 {
		t.Fatalf("found %q, want %q", found, want)
	}
	if want != "" && !strings.Contains(strings.Join(found, "\n"), want) {
		t.Errorf("found %q, want %q", found, want)
	}
}
