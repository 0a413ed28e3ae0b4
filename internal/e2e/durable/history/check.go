// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package history

// Check compares the objects after a restart, all of the Log's kinds at a resource
// version, with the writes. It settles writes in flight, and returns the number of
// compared acknowledged states.
func (l *Log) Check(version uint64, shown map[Key]State) (checked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version < l.highest {
		l.report("resource versions fell: a list is at %d, and %d had been told", version, l.highest)
	}
	for key, o := range l.objects {
		if o.acknowledged {
			checked++
		}
		l.compare(key, o, shown[key])
		if n := len(o.writes); n > 0 && o.writes[n-1].stamp == 0 && o.writes[n-1].atMost == 0 {
			o.writes[n-1].atMost = version
		}
	}
	for key, state := range shown {
		if l.objects[key] == nil {
			l.report("%s: nobody wrote it, with stamp %d", key, state.Stamp)
			l.objects[key] = &object{state: state}
		}
	}
	l.highest = max(l.highest, version)
	return checked
}

// compare settles one object.
func (l *Log) compare(key Key, o *object, shown State) {
	pending := o.pending
	o.pending = nil
	switch {
	case shown == o.state:
		// The write in flight, if any, did not take effect.
	case pending != nil && shown.Stamp == *pending && (shown.Stamp == 0 || o.continues(shown)):
		o.settle(shown, false)
	default:
		l.report("%s: %s", key, l.wrong(o, pending, shown))
		o.settle(shown, false) // report it once
	}
}

// continues reports whether shown can be the result of a write of the object.
func (o *object) continues(shown State) bool {
	return shown.Version > o.state.Version && (o.state.UID == "" || o.state.UID == shown.UID)
}

// wrong describes the difference of shown, or returns an empty string.
func (l *Log) wrong(o *object, pending *int64, shown State) string {
	what := "lost"
	if !o.acknowledged {
		what = "was seen, and is lost"
	}
	switch {
	case shown.Stamp == 0:
		return sprintf("%s: write %d at version %d; the object is not there", what, o.state.Stamp, o.state.Version)
	case shown.Stamp == o.state.Stamp:
		return sprintf("write %d is there as version %d, UID %s, and was version %d, UID %s",
			shown.Stamp, shown.Version, shown.UID, o.state.Version, o.state.UID)
	case pending != nil && shown.Stamp == *pending:
		return sprintf("write %d, which was in flight, is there as version %d, UID %s, on top of version %d, UID %s",
			shown.Stamp, shown.Version, shown.UID, o.state.Version, o.state.UID)
	}
	for _, w := range o.writes {
		if w.stamp != shown.Stamp {
			continue
		}
		if o.state.Stamp == 0 {
			return sprintf("%s: the deletion; write %d of before is back", what, shown.Stamp)
		}
		return sprintf("%s: write %d at version %d; the older write %d is back", what, o.state.Stamp, o.state.Version, shown.Stamp)
	}
	return sprintf("it has the stamp %d, which it never got", shown.Stamp)
}
