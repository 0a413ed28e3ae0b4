// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history

import "sort"

// Event is an event of a watch. A Stamp of zero is a deletion.
type Event struct {
	Key     Key
	Stamp   int64
	Version uint64
	Added   bool
}

// Watch records the events of one watch of all objects of a kind, across restarts. It
// is used by one goroutine.
type Watch struct {
	Kind string
	runs []run

	Resumed, Gone int // numbers of resumptions and of 410 Gone
}

// run is a part of a watch without a gap: it has every event after one version up to
// another.
type run struct {
	after, upTo uint64
	events      []Event
}

// Begin records a list at this version, from which the watch starts.
func (w *Watch) Begin(version uint64) {
	w.runs = append(w.runs, run{after: version, upTo: version})
}

// Version returns the last version of the watch, from which it resumes.
func (w *Watch) Version() uint64 {
	if len(w.runs) == 0 {
		return 0
	}
	return w.runs[len(w.runs)-1].upTo
}

// Event records an event of one of the Log's objects.
func (w *Watch) Event(e Event) {
	r := &w.runs[len(w.runs)-1]
	r.events = append(r.events, e)
	r.upTo = max(r.upTo, e.Version)
}

// Progress records a version from a bookmark or from an object outside the Log.
func (w *Watch) Progress(version uint64) {
	r := &w.runs[len(w.runs)-1]
	r.upTo = max(r.upTo, version)
}

// Events returns the number of events of the watch.
func (w *Watch) Events() (n int) {
	for _, r := range w.runs {
		n += len(r.events)
	}
	return n
}

// CheckWatches compares watches with the settled writes: each write appears once and in
// order, no event without a write, and no write missing between a run's first and last
// version.
func (l *Log) CheckWatches(watches ...*Watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range watches {
		l.learnDeletions(w)
	}
	for _, w := range watches {
		for _, r := range w.runs {
			l.checkRun(w.Kind, r)
		}
	}
}

// learnDeletions takes the versions of deletions from a watch, because answers to
// deletions do not have them.
func (l *Log) learnDeletions(w *Watch) {
	for _, r := range w.runs {
		for _, e := range r.events {
			if o := l.objects[e.Key]; e.Stamp == 0 && o != nil {
				if at := o.deletionAt(e.Version); at >= 0 && o.writes[at].version == 0 {
					o.writes[at].version = e.Version
				}
			}
		}
	}
}

// deletionAt returns the index of the deletion with this version, or of one with
// unknown version that can have it.
func (o *object) deletionAt(version uint64) int {
	for i, w := range o.writes {
		if w.stamp != 0 || w.version != 0 && w.version != version {
			continue
		}
		before := i == 0 || o.writes[i-1].version < version
		after := i+1 == len(o.writes) || o.writes[i+1].version > version
		if before && after {
			return i
		}
	}
	return -1
}

// checkRun compares one run.
func (l *Log) checkRun(kind string, r run) {
	last := r.after
	seen := map[Key][]Event{}
	for _, e := range r.events {
		if e.Version <= last {
			l.report("%s: watch: an event of version %d after one of version %d", e.Key, e.Version, last)
		}
		last = max(last, e.Version)
		seen[e.Key] = append(seen[e.Key], e)
	}
	for key, o := range l.objects {
		if key.Kind == kind {
			l.checkEvents(key, o, r, seen[key])
		}
		delete(seen, key)
	}
	for key := range seen {
		l.report("%s: watch: an event of an object that nobody wrote", key)
	}
}

// checkEvents compares one run's events of one object with its writes.
func (l *Log) checkEvents(key Key, o *object, r run, events []Event) {
	// The run starts with the first later write. No run has seen a deletion of unknown
	// version.
	at := sort.Search(len(o.writes), func(i int) bool { return o.lowest(i) > r.after })
	for _, e := range events {
		if at == len(o.writes) {
			l.report("%s: watch: an event of write %d at version %d, which has not happened", key, e.Stamp, e.Version)
			return
		}
		w := o.writes[at]
		if w.stamp != e.Stamp || w.version != e.Version {
			l.report("%s: watch: an event of write %d at version %d where write %d at version %d comes next", key, e.Stamp, e.Version, w.stamp, w.version)
			return
		}
		if added := at == 0 || o.writes[at-1].stamp == 0; e.Stamp != 0 && e.Added != added {
			l.report("%s: watch: the event of write %d says added: %t", key, e.Stamp, e.Added)
		}
		at++
	}
	for ; at < len(o.writes); at++ {
		w := o.writes[at]
		if w.version > r.after && w.version <= r.upTo || w.version == 0 && w.atMost != 0 && w.atMost <= r.upTo {
			l.report("%s: watch: no event of write %d at version %d, between %d and %d", key, w.stamp, w.version, r.after, r.upTo)
			return
		}
	}
}

// lowest returns the version of a write, or the lowest possible one.
func (o *object) lowest(i int) uint64 {
	if v := o.writes[i].version; v != 0 || i == 0 {
		return v
	}
	return o.writes[i-1].version + 1
}
