package history

import "sort"

// Event is one of a watch. A Stamp of zero is a deletion.
type Event struct {
	Key     Key
	Stamp   int64
	Version uint64
	Added   bool
}

// Watch is what one watch of all objects of one kind was told, across restarts. It
// is of one goroutine.
type Watch struct {
	Kind string
	runs []run

	Resumed, Gone int // how often it was resumed, and how often it got 410 Gone
}

// run is a stretch of a watch without a gap: it was told all that happened after
// one version up to another.
type run struct {
	after, upTo uint64
	events      []Event
}

// Begin takes down a list at this version, from which the watch goes on.
func (w *Watch) Begin(version uint64) {
	w.runs = append(w.runs, run{after: version, upTo: version})
}

// Version is the last that the watch was told, from which it is to be resumed.
func (w *Watch) Version() uint64 {
	if len(w.runs) == 0 {
		return 0
	}
	return w.runs[len(w.runs)-1].upTo
}

// Event takes down an event of one of the Log's objects.
func (w *Watch) Event(e Event) {
	r := &w.runs[len(w.runs)-1]
	r.events = append(r.events, e)
	r.upTo = max(r.upTo, e.Version)
}

// Progress takes down a version that something else has told: a bookmark or an
// object that is not of the Log.
func (w *Watch) Progress(version uint64) {
	r := &w.runs[len(w.runs)-1]
	r.upTo = max(r.upTo, version)
}

// Events is how many events the watch was told.
func (w *Watch) Events() (n int) {
	for _, r := range w.runs {
		n += len(r.events)
	}
	return n
}

// CheckWatches compares what watches were told with what was written, when all is
// settled: each write once, in order, none that has not happened, and none missing
// between a run's first and last version.
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

// learnDeletions takes the versions of deletions from a watch: answers to
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

// deletionAt returns which write is a deletion of this version, or could be: one of
// an unknown version between its neighbours'.
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
	// Where in the writes the run begins: the first that is later. A deletion of
	// unknown version has been seen by no run at all.
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

// lowest is the version of a write, or the lowest that it can have.
func (o *object) lowest(i int) uint64 {
	if v := o.writes[i].version; v != 0 || i == 0 {
		return v
	}
	return o.writes[i-1].version + 1
}
