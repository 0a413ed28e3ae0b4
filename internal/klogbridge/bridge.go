// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package klogbridge keeps the Kubernetes code in this process from printing.
//
// Upstream writes through klog, which is per process and by default prints to standard
// error. While a control plane runs, klog's lines go to its logger instead, unless the
// host has configured klog. Afterwards klog is as before. A host that has set a klog
// logger, an output or -logtostderr=false keeps it.
//
// klog writes under a lock of the process, so the bridge never calls a logger while klog
// writes: it queues lines, see package logqueue. Lines that a logger itself writes to
// klog reach neither this logger nor the others. They go to klog's default output, as
// without a bridge.
//
// klog's fatal errors end the process. On the goroutines of a control plane they fail
// that control plane instead: see containment.GiveUp. If the host has configured klog,
// klog prints the error and its stack first.
package klogbridge

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/callstack"
	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/logqueue"
)

// Attach sends klog's lines to logger until detach is called. If several loggers are
// attached, each gets every line once, because a line does not name its control plane.
// detach may be called more than once. A logger without a logqueue.Queue gets a queue,
// and detach waits for it: its error reports that the logger blocks.
func Attach(logger *zap.Logger) (detach func() error) {
	detach, _ = AttachUntilStop(logger)
	return detach
}

// AttachUntilStop is Attach with a two-step end. After stop is called, upstream's errors
// and warnings are at debug level in this logger. They are about interrupted requests and
// caches that were not filled in time; the callers that wait for a stop report what did
// not stop. Until detach is called, such lines that look like a stop are at debug level
// in all other loggers, too.
func AttachUntilStop(logger *zap.Logger) (detach func() error, stop func()) {
	logger = logger.Named("klog")
	closeQueue := func() error { return nil }
	core, queued := logger.Core().(*logqueue.Core)
	if !queued {
		q := logqueue.New(logger, nil)
		core, closeQueue = q.Core(), q.Close
	}
	t := &target{core: core.Verbose(), name: logger.Name()}
	remove := process.attach(t)
	return sync.OnceValue(func() error {
			remove()
			if t.phase.Swap(detached) == stopping {
				process.stopping.Add(-1)
			}
			return closeQueue()
		}), func() {
			if t.phase.CompareAndSwap(running, stopping) {
				process.stopping.Add(1)
			}
		}
}

// target is one logger.
type target struct {
	core  *logqueue.Core
	name  string
	phase atomic.Int32
}

// Phases of a target.
const (
	running = iota
	stopping
	detached
)

// process is the one klog of this process.
var process bridge

type bridge struct {
	// klog holds its own lock while it calls Write, and takes it in its setters, which
	// are called with mu held: Write must not take mu.
	mu      sync.Mutex
	targets map[*target]struct{}
	restore func() // undoes the takeover; nil while klog is the host's
	current atomic.Pointer[[]*target]
	// stopping is the number of targets whose control plane is stopping.
	stopping atomic.Int32
}

// publish is called with mu held when targets has changed.
func (b *bridge) publish() {
	targets := slices.Collect(maps.Keys(b.targets))
	b.current.Store(&targets)
}

func (b *bridge) attach(t *target) (remove func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := len(b.targets) == 0
	if first {
		b.targets = map[*target]struct{}{}
	}
	b.targets[t] = struct{}{}
	b.publish()
	if first {
		b.restore = takeOver(b)
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.targets, t)
		b.publish()
		if len(b.targets) == 0 && b.restore != nil {
			b.restore()
			b.restore = nil
		}
	}
}

// Flush waits, for a second at most, until the attached loggers have all earlier lines.
func Flush() { process.flush() }

// flush waits for the queued lines, at most flushTimeout in all.
func (b *bridge) flush() {
	targets := b.current.Load()
	if targets == nil {
		return
	}
	deadline := time.Now().Add(flushTimeout)
	for _, t := range *targets {
		t.core.Flush(time.Until(deadline))
	}
}

const (
	// flushTimeout bounds the wait for the loggers, also at the end of the process.
	flushTimeout = time.Second
	// longest is the limit of a line's length. The stacks of a panic fit.
	longest = 64 << 10
	// aboveFatal is a severity that no line has.
	aboveFatal = 4
)

// takeOver redirects klog's output. It uses only setters of klog that are safe while
// other goroutines log.
func takeOver(w io.Writer) (restore func()) {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if flags.Lookup("logtostderr").Value.String() != "true" {
		return nil // the host writes to files, or to another output
	}
	threshold := flags.Lookup("stderrthreshold").Value.String()
	// klog writes a line to the output of its severity and of all below it: with one
	// output, for the lowest, it writes each line once.
	klog.SetOutput(io.Discard)
	klog.SetOutputBySeverity("INFO", w)
	_ = flags.Set("stderrthreshold", strconv.Itoa(aboveFatal))
	klog.LogToStderr(false)
	return func() {
		klog.LogToStderr(true)
		_ = flags.Set("stderrthreshold", threshold)
		klog.SetOutput(nil)
	}
}

// Write takes one klog message with its header.
func (b *bridge) Write(text []byte) (int, error) {
	n := len(text)
	if logqueue.Delivering() {
		_, err := os.Stderr.Write(text)
		return n, err
	}
	targets := b.current.Load()
	if targets == nil || len(*targets) == 0 {
		return n, nil
	}
	if bytes.HasPrefix(text, []byte("F")) && callstack.HasPrefix("k8s.io/klog/v2.Fatal", "k8s.io/klog/v2.Exit") {
		_, message, _ := strings.Cut(string(bytes.TrimRight(text, "\n")), "] ")
		defer func() {
			giveUp(message)
			_, _ = os.Stderr.Write(text) // it belongs to the host, and ends the process
		}()
	}
	if n > longest {
		text = fmt.Appendf(nil, "%s... (%d bytes more)", bytes.ToValidUTF8(text[:longest], nil), n-longest)
	}
	l := parse(text)
	entry := zapcore.Entry{Time: time.Now(), Message: l.message}
	for _, t := range *targets {
		entry.LoggerName, entry.Level = t.name, l.level
		if !l.fatal && (t.phase.Load() != running || l.shutdownError && b.stopping.Load() > 0) {
			entry.Level = zapcore.DebugLevel
		}
		if l.logger != "" {
			entry.LoggerName += "." + l.logger
		}
		t.core.Put(l.source, entry, l.fields)
	}
	return n, nil
}

// line is a line of klog.
type line struct {
	level                   zapcore.Level
	fatal                   bool
	shutdownError           bool // it may belong to a stopping control plane
	source, message, logger string
	fields                  []zapcore.Field
}

// parse splits "E0102 15:04:05.678901   12345 file.go:67] message". Levels are
// one lower than klog's: see logging.Lower.
func parse(text []byte) line {
	l := line{level: zapcore.DebugLevel, message: string(bytes.TrimRight(text, "\n"))}
	header, message, found := strings.Cut(l.message, "] ")
	if !found {
		return l
	}
	l.message = message
	if fields := strings.Fields(header); len(fields) > 0 {
		l.source = fields[len(fields)-1]
	}
	switch {
	case strings.HasPrefix(header, "F"):
		l.level, l.fatal = zapcore.ErrorLevel, true
	case strings.HasPrefix(header, "E"):
		l.level = logging.Level(zapcore.ErrorLevel)
	case strings.HasPrefix(header, "W"):
		l.level = logging.Level(zapcore.WarnLevel)
	}
	cause := message
	if p, ok := parsePairs(message); ok {
		l.message, l.logger, l.fields, cause = p.message, p.logger, p.fields, p.cause
	}
	l.fields = append(l.fields, zap.String("source", l.source))
	switch {
	case l.level < zapcore.InfoLevel || l.fatal:
	case l.level == zapcore.WarnLevel && strings.HasSuffix(cause, logging.Canceled), logging.Expected(l.message, cause):
		l.level = zapcore.DebugLevel
	default:
		l.shutdownError = logging.IsShutdownError(l.message, cause)
	}
	return l
}
