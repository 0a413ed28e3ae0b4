// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logqueue

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// distinct returns a message with its own kind.
func distinct(i int) string {
	return strings.Map(func(r rune) rune { return r - '0' + 'a' }, fmt.Sprintf("%05d", i))
}

func TestLinesAreWrittenInOrderBeforeCloseReturns(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	q := New(zap.New(core).Named("host").With(zap.String("of", "the host")), nil)
	logger := q.Logger().Named("part").With(zap.Int("with", 1)).With(zap.Int("and", 2))
	var want []string
	for i := range 1000 {
		logger.Info(distinct(i), zap.Int("i", i))
		logger.Debug("not for this logger")
		want = append(want, distinct(i))
	}
	closeQueue(t, q)
	logger.Info("too late")
	var got []string
	for i, entry := range logs.All() {
		got = append(got, entry.Message)
		fields := entry.ContextMap()
		if entry.LoggerName != "host.part" || fields["of"] != "the host" || fields["with"] != int64(1) || fields["and"] != int64(2) || fields["i"] != int64(i) {
			t.Fatalf("got logger %s, fields %v", entry.LoggerName, fields)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d lines, want %d in order: %.200v", len(got), len(want), got)
	}
}

// TestEachCoreHasItsLevel: several cores behind one logger have a level each.
func TestEachCoreHasItsLevel(t *testing.T) {
	all, allLogs := observer.New(zap.DebugLevel)
	errs, errorLogs := observer.New(zap.ErrorLevel)
	q := New(zap.New(zapcore.NewTee(all, errs)), nil)
	q.Logger().Debug("debug")
	q.Logger().Error("error")
	closeQueue(t, q)
	if allLogs.Len() != 2 || errorLogs.Len() != 1 {
		t.Errorf("got %d and %d lines, want 2 and 1", allLogs.Len(), errorLogs.Len())
	}
}

func TestLoggerThatBlocks(t *testing.T) {
	called, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var lines atomic.Int64
	var mu sync.Mutex
	dropped := map[string]int{}
	q := New(hooked(func(zapcore.Entry, []zapcore.Field) {
		lines.Add(1)
		once.Do(func() { close(called); <-release })
	}), func(reason string, n int) {
		mu.Lock()
		defer mu.Unlock()
		dropped[reason] += n
	})
	q.Logger().Info("the first")
	wait(t, called, "the first line")
	for i := range maxLines + 100 {
		q.Logger().Info(distinct(i % 1000)) // does not wait
	}
	if dropped[Full] != 100 {
		t.Errorf("got dropped %v", dropped)
	}
	err := q.Close()
	if want := fmt.Sprintf("%d lines", maxLines+1); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Close: got %v, want %q in it", err, want)
	}
	if again := q.Close(); !errors.Is(again, err) {
		t.Errorf("second Close: got %v", again)
	}
	close(release)
	wait(t, q.done, "the end of the goroutine")
	if got := lines.Load(); got != 1 {
		t.Errorf("got %d written lines, most of them after Close", got)
	}
	if dropped[Closed] != maxLines+1 {
		t.Errorf("got dropped %v", dropped)
	}
}

// TestQueueIsBoundedInBytes: a line is dropped if the earlier lines are too long, unless
// it explains why something ended.
func TestQueueIsBoundedInBytes(t *testing.T) {
	called, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	core, logs := observer.New(zap.DebugLevel)
	var dropped atomic.Int64
	q := New(zap.New(zapcore.NewTee(core, hook(func(zapcore.Entry, []zapcore.Field) {
		once.Do(func() { close(called); <-release })
	}))).WithOptions(zap.WithPanicHook(zapcore.WriteThenGoexit)), func(_ string, n int) { dropped.Add(int64(n)) })
	q.Logger().Info("the first")
	wait(t, called, "the first line")
	for i := range 20 {
		q.Logger().Info(distinct(i), zap.ByteString("long", make([]byte, maxBytes/10)))
	}
	if got := dropped.Load(); got < 10 || got > 12 {
		t.Errorf("got %d dropped of 20 lines, each a tenth of the limit", got)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.Logger().Panic("the end")
	}()
	wait(t, ended, "the panic, for which there is no room either")
	close(release)
	closeQueue(t, q)
	if logs.FilterMessage("the end").Len() != 1 {
		t.Error("the line about the end was dropped")
	}
	summary := logs.FilterMessage("log lines dropped: the Logger did not keep up").All()
	if len(summary) != 1 || summary[0].ContextMap()["lines"] != dropped.Load() || summary[0].Level != zap.WarnLevel {
		t.Errorf("got summary %v, %d dropped", summary, dropped.Load())
	}
}

// TestLineThatEndsSomethingIsWrittenFirst: a line that ends the process is written before
// the end.
func TestLineThatEndsSomethingIsWrittenFirst(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	q := New(zap.New(core, zap.WithFatalHook(zapcore.WriteThenPanic)), nil)
	defer closeQueue(t, q)
	defer func() {
		if cause := recover(); cause != "the end" || logs.Len() != 1 {
			t.Errorf("got %v, %d lines", cause, logs.Len())
		}
	}()
	q.Logger().Fatal("the end")
}

func TestLoggerThatFails(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("logger") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			var got []string
			var dropped atomic.Int64
			q := New(hooked(func(e zapcore.Entry, _ []zapcore.Field) {
				if e.Message != "good" {
					fail()
				}
				got = append(got, e.Message)
			}), func(_ string, n int) { dropped.Add(int64(n)) })
			for range 3 {
				q.Logger().Info("bad")
				q.Logger().Info("good")
			}
			closeQueue(t, q)
			if !slices.Equal(got, []string{"good", "good", "good"}) || dropped.Load() != 3 {
				t.Errorf("got %q, %d dropped", got, dropped.Load())
			}
		})
	}
}

// TestLoggerThatReportsErrors: the logger's own level applies to lines, and its own error
// output gets its errors.
func TestLoggerThatReportsErrors(t *testing.T) {
	var reported bytes.Buffer
	failing := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), badWriter{}, zap.InfoLevel)
	q := New(zap.New(failing, zap.ErrorOutput(zapcore.AddSync(&reported))), nil)
	q.Logger().Info("a line")
	closeQueue(t, q)
	if !strings.Contains(reported.String(), "the disk is full") {
		t.Errorf("got reported %q", &reported)
	}
}

type badWriter struct{}

func (badWriter) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }
func (badWriter) Sync() error               { return nil }

func TestEnsure(t *testing.T) {
	q := New(zap.NewNop(), nil)
	same, stop := Ensure(q.Logger().Named("x").With(zap.Int("i", 1)), nil)
	if _, ok := same.Core().(*Core); !ok || same.Core().(*Core).queue != q || stop() != nil {
		t.Error("got a queue in front of a queue")
	}
	closeQueue(t, q)
	other, stop := Ensure(zap.NewNop(), nil)
	if _, ok := other.Core().(*Core); !ok {
		t.Error("got no queue")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestDelivering(t *testing.T) {
	if Delivering() {
		t.Error("Delivering: got true in a test")
	}
	var inside, beside bool
	entered, asked := make(chan struct{}), make(chan struct{})
	q := New(hooked(func(zapcore.Entry, []zapcore.Field) {
		inside = Delivering()
		close(entered)
		<-asked
	}), nil)
	q.Logger().Info("a line")
	wait(t, entered, "the line")
	beside = Delivering()
	close(asked)
	closeQueue(t, q)
	if !inside || beside {
		t.Errorf("Delivering: got %v in the logger, %v outside", inside, beside)
	}
}
