// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logqueue

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestFlood: a flood of one kind is limited, reported and counted, for any text of the
// client, and hides no other lines.
func TestFlood(t *testing.T) {
	for name, flood := range map[string]func(*zap.Logger, int){
		"one text":      func(l *zap.Logger, _ int) { l.Warn("unable to authenticate") },
		"an address":    func(l *zap.Logger, i int) { l.Warn(fmt.Sprintf("http: TLS handshake error from 192.0.2.1:%d: EOF", i)) },
		"a quoted text": func(l *zap.Logger, i int) { l.Warn(fmt.Sprintf("unknown user %q", distinct(i))) },
		"one call":      func(l *zap.Logger, i int) { l.WithOptions(zap.AddCaller()).Warn(distinct(i)) },
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			var dropped atomic.Int64
			q := New(zap.New(core), func(reason string, n int) {
				if reason == Rate {
					dropped.Add(int64(n))
				}
			})
			const lines = 3000
			begun := time.Now()
			for i := range lines {
				flood(q.Logger().Named("part"), i)
			}
			most := burst + perSecond*int(time.Since(begun).Seconds()+1)
			q.Logger().Error("something that matters")
			closeQueue(t, q)
			summaries := logs.FilterMessage("log lines were suppressed: too many of one kind").All()
			var sum int64
			for _, s := range summaries {
				sum += s.ContextMap()["lines"].(int64)
				if s.Level != zap.WarnLevel || s.LoggerName != "part" {
					t.Errorf("got summary %+v", s)
				}
			}
			passed := logs.Len() - len(summaries) - 1
			if passed < burst || passed > most || sum != lines-int64(passed) || dropped.Load() != sum {
				t.Errorf("got %d lines and %d summaries of %d; %d counted", passed, len(summaries), sum, dropped.Load())
			}
			if logs.FilterMessage("something that matters").Len() != 1 {
				t.Error("a line of another kind is missing")
			}
		})
	}
}

// TestFloodIsReportedWithoutAnotherLine: the report of a flood comes after its end,
// without a next line.
func TestFloodIsReportedWithoutAnotherLine(t *testing.T) {
	reported := make(chan struct{}, 1)
	q := New(hooked(func(e zapcore.Entry, _ []zapcore.Field) {
		if strings.Contains(e.Message, "suppressed") {
			select {
			case reported <- struct{}{}:
			default:
			}
		}
	}), nil)
	defer closeQueue(t, q)
	for range burst + 10 {
		q.Logger().Warn("one text")
	}
	wait(t, reported, "the report")
}

// TestVerboseLinesHaveRoom: a host that requests many debug lines gets them.
func TestVerboseLinesHaveRoom(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	q := New(zap.New(core), nil)
	verbose := q.Logger().WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return core.(*Core).Verbose() }))
	for range 900 {
		verbose.With(zap.Int("i", 1)).Debug("verbose")
		verbose.Warn("a warning")
		q.Logger().Debug("not verbose")
	}
	closeQueue(t, q)
	if got := logs.FilterMessage("verbose").Len(); got != 900 {
		t.Errorf("got %d of 900 lines", got)
	}
	for _, message := range []string{"a warning", "not verbose"} {
		if got := logs.FilterMessage(message).Len(); got > 100 {
			t.Errorf("got %d lines: %s", got, message)
		}
	}
}

func TestKindsRecover(t *testing.T) {
	var l limiter
	now := time.Now()
	entry := &zapcore.Entry{Level: zapcore.WarnLevel}
	take := func(n int) (taken int) {
		for range n {
			if l.take("kind", entry, false, now) {
				taken++
			}
		}
		return taken
	}
	if got := take(burst + 5); got != burst {
		t.Errorf("got %d lines at first", got)
	}
	now = now.Add(10 * time.Second)
	if got := take(burst); got != 10*perSecond {
		t.Errorf("got %d lines after ten seconds", got)
	}
	now = now.Add(-time.Hour) // a clock that goes back
	if got := take(1); got != 0 {
		t.Errorf("got %d lines from the past", got)
	}
	now = now.Add(2 * time.Hour)
	if got := take(2 * burst); got != burst {
		t.Errorf("got %d lines after an hour", got)
	}
	if kinds := l.report(); len(kinds) != 1 || kinds[0].suppressed != 5+burst-10*perSecond+1+burst {
		t.Errorf("got %+v", kinds)
	}
}

// TestKindsAreBounded: the number of kinds is bounded, as kinds cost memory.
func TestKindsAreBounded(t *testing.T) {
	var l limiter
	now := time.Now()
	taken := 0
	for i := range 10 * maxKinds {
		if l.take(distinct(i), &zapcore.Entry{Level: zapcore.WarnLevel, Message: strings.Repeat("ä", 1000)}, false, now) {
			taken++
		}
	}
	if len(l.kinds) > maxKinds+1 || taken != maxKinds+burst {
		t.Errorf("got %d kinds, %d lines", len(l.kinds), taken)
	}
	if kinds := l.report(); len(kinds) != 1 || kinds[0].kind != shared || len(kinds[0].lastMessage) > 310 || !strings.HasSuffix(kinds[0].lastMessage, "ä...") {
		t.Errorf("got %+v", kinds)
	}
	now = now.Add(time.Hour)
	l.take("another", &zapcore.Entry{}, true, now)
	if len(l.kinds) > 10 {
		t.Errorf("got %d kinds after an hour", len(l.kinds))
	}
}

// FuzzMessages: any message has a kind that begins it, and a truncated form.
func FuzzMessages(f *testing.F) {
	for _, seed := range []string{"", "dial 10.0.0.1: refused", `token "x" is bad`, strings.Repeat("ä", 200), "\xff" + strings.Repeat("\x80", 400)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		if kind := template(message); len(kind) > 80 || !strings.HasPrefix(message, kind) {
			t.Errorf("got kind %q of %q", kind, message)
		}
		got := truncate(message)
		if len(got) > 303 || utf8.ValidString(message) && !utf8.ValidString(got) {
			t.Errorf("got %d bytes, %q", len(got), got)
		}
	})
}
