// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Result is the result of Check.
type Result struct {
	// Calls counts the checked calls, Writes the acknowledged writes among them, and
	// Open the calls without an answer.
	Calls, Writes, Open int
	// Bad are the keys for which no order of calls explains the answers. Undecided are
	// the keys for which the time was too short.
	Bad, Undecided []string

	calls map[string][]Call
}

// Check searches an order of calls that explains all answers. It takes at most timeout
// for each object.
func Check(calls []Call, timeout time.Duration) Result {
	r := Result{calls: map[string][]Call{}}
	for _, c := range calls {
		r.calls[c.Key] = append(r.calls[c.Key], c)
	}
	for _, key := range slices.Sorted(maps.Keys(r.calls)) {
		ops := operations(r.calls[key])
		r.Calls += len(ops)
		for _, op := range ops {
			switch c := op.Input.(Call); {
			case c.Outcome == Unknown:
				r.Open++
			case c.writes() && c.Outcome == OK:
				r.Writes++
			}
		}
		switch porcupine.CheckOperationsTimeout(model, ops, timeout) {
		case porcupine.Illegal:
			r.Bad = append(r.Bad, key)
		case porcupine.Unknown:
			r.Undecided = append(r.Undecided, key)
		}
	}
	return r
}

// OK reports whether an order explains all answers.
func (r Result) OK() bool { return len(r.Bad)+len(r.Undecided) == 0 }

func (r Result) String() string {
	s := fmt.Sprintf("%d calls, %d acknowledged writes, %d calls without an answer", r.Calls, r.Writes, r.Open)
	if len(r.Bad) > 0 {
		s += fmt.Sprintf("; NOT linearizable: %q", r.Bad)
	}
	if len(r.Undecided) > 0 {
		s += fmt.Sprintf("; not decided in time: %q", r.Undecided)
	}
	return s
}

// Visualize writes a page with the calls of a key, and how far they could be explained.
func (r Result) Visualize(key, path string, timeout time.Duration) error {
	_, info := porcupine.CheckOperationsVerbose(model, operations(r.calls[key]), timeout)
	return porcupine.VisualizePath(model, info, path)
}

// operations returns the calls of one object for the checker. Calls without an answer
// make its work grow exponentially. So calls that had no effect are left out, and calls
// whose effect was seen end then.
func operations(calls []Call) []porcupine.Operation {
	var end time.Duration              // after all others
	seen := map[string]time.Duration{} // when a value was first read
	taken := map[uint64]bool{}         // versions replaced by acknowledged writes
	for _, c := range calls {
		end = max(end, c.Start+1, c.End+1)
		if c.Outcome != OK {
			continue
		}
		if c.Op == Get {
			if at, ok := seen[c.Read]; !ok || c.End < at {
				seen[c.Read] = c.End
			}
		} else if c.Expect != 0 {
			taken[c.Expect] = true
		}
	}
	ops := make([]porcupine.Operation, 0, len(calls))
	for _, c := range calls {
		returned := c.End
		if c.Outcome == Unknown {
			at, ok := seen[c.Value]
			switch {
			case c.Op == Get, !ok && taken[c.Expect]:
				continue
			case ok && c.Value != "":
				// A read before the write began is a finding. Keep it.
				returned = max(at, c.Start)
			default:
				returned = end
			}
		}
		ops = append(ops, porcupine.Operation{ClientId: c.Client, Input: c, Call: int64(c.Start), Return: int64(returned)})
	}
	return ops
}

// CheckVersions returns the violations of the order of resource versions over all
// objects.
func CheckVersions(calls []Call, lists []List) (wrong []string) {
	type told struct {
		start, end time.Duration
		version    uint64
		what       string
		write      bool
	}
	var all []told
	writers := map[uint64]Call{}
	for _, c := range calls {
		if c.Outcome != OK || c.Version == 0 {
			continue
		}
		if c.writes() {
			if other, ok := writers[c.Version]; ok {
				wrong = append(wrong, fmt.Sprintf("two writes have the same version: %s; %s", other, c))
			}
			writers[c.Version] = c
			all = append(all, told{c.Start, c.End, c.Version, c.String(), true})
		}
	}
	for _, l := range lists {
		all = append(all, told{l.Start, l.End, l.Version, fmt.Sprintf("list (%s) @%d", l.Member, l.Version), false})
	}
	byEnd := slices.SortedFunc(slices.Values(all), func(a, b told) int { return cmp.Compare(a.end, b.end) })
	slices.SortFunc(all, func(a, b told) int { return cmp.Compare(a.start, b.start) })
	var highest told
	for _, t := range all {
		for len(byEnd) > 0 && byEnd[0].end < t.start {
			if byEnd[0].version > highest.version {
				highest = byEnd[0]
			}
			byEnd = byEnd[1:]
		}
		if t.version < highest.version || t.write && t.version == highest.version {
			wrong = append(wrong, fmt.Sprintf("%s began %s after %s was answered", t.what, t.start-highest.end, highest.what))
		}
	}
	return wrong
}
