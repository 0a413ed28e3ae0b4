// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logqueue

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap/zapcore"
)

// A kind of line may come burst times at once, and perSecond times per second from then
// on. zap's sampler identifies lines by their text, which may contain anything from a
// client. Here a kind is a place in the code.
//
// Upstream's information, which is at debug level, has its own limit (see
// [Core.Verbose]): if a host has set klog's verbosity, it has a line for each request and
// object. Otherwise it has nothing that unauthenticated clients cause.
const (
	burst, perSecond               = 50, 1
	verboseBurst, verbosePerSecond = 1000, 100
	// maxKinds bounds the memory. The code has about a thousand places that log.
	maxKinds = 1024
	// shared is the kind of further lines when there are maxKinds.
	shared = "others"
)

// limiter counts recent lines by kind. Its zero value is ready.
type limiter struct {
	kinds      map[string]*kind
	suppressed bool // a report is due
}

type kind struct {
	kind        string
	tokens      float64
	lastMessage string
	at          time.Time
	suppressed  int
	level       zapcore.Level
	logger      string
	verbose     bool
}

func limits(verbose bool) (most, rate float64) {
	if verbose {
		return verboseBurst, verbosePerSecond
	}
	return burst, perSecond
}

// refill adds the tokens gained since the last call.
func (k *kind) refill(now time.Time) (full bool) {
	most, rate := limits(k.verbose)
	k.tokens = min(most, k.tokens+rate*max(0, now.Sub(k.at).Seconds()))
	k.at = now
	return k.tokens >= most
}

// take reports whether the line may be written.
func (l *limiter) take(name string, entry *zapcore.Entry, verbose bool, now time.Time) bool {
	k := l.find(name, verbose && entry.Level <= zapcore.DebugLevel, now)
	k.refill(now)
	if k.tokens >= 1 {
		k.tokens--
		return true
	}
	if k.suppressed == 0 || entry.Level > k.level {
		k.level = entry.Level
	}
	k.suppressed++
	k.lastMessage, k.logger = truncate(entry.Message), entry.LoggerName
	l.suppressed = true
	return false
}

func (l *limiter) find(name string, verbose bool, now time.Time) *kind {
	key := name
	if verbose {
		key += " verbose"
	}
	if k, ok := l.kinds[key]; ok {
		return k
	}
	if len(l.kinds) >= maxKinds {
		for other, k := range l.kinds {
			if k.refill(now) && k.suppressed == 0 {
				delete(l.kinds, other)
			}
		}
	}
	if len(l.kinds) >= maxKinds {
		if k, ok := l.kinds[shared]; ok {
			return k
		}
		name, key, verbose = shared, shared, false // one more
	}
	if l.kinds == nil {
		l.kinds = map[string]*kind{}
	}
	most, _ := limits(verbose)
	k := &kind{kind: name, tokens: most, at: now, verbose: verbose}
	l.kinds[strings.Clone(key)] = k
	return k
}

// report returns the kinds with suppressed lines, and resets their counts.
func (l *limiter) report() (all []kind) {
	l.suppressed = false
	for _, k := range l.kinds {
		if k.suppressed > 0 {
			all = append(all, *k)
			k.suppressed = 0
		}
	}
	slices.SortFunc(all, func(a, b kind) int { return strings.Compare(a.kind, b.kind) })
	return all
}

// template returns the common prefix of lines that differ in an address, a number or a
// quoted text.
func template(message string) string {
	const longest = 80
	cut := strings.IndexAny(message, "0123456789\"'`[{(<=")
	if cut < 0 || cut > longest {
		cut = min(len(message), longest)
	}
	return message[:cut]
}

// truncate returns the beginning of a message.
func truncate(message string) string {
	const most = 300
	if len(message) <= most {
		return message
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + "..."
}
