// Package klogbridge keeps the Kubernetes code in this process from printing.
//
// Upstream writes through klog, which is one per process and by default prints
// to standard error. While a control plane runs, and only if the host has left
// klog as it is by default, klog's lines go to the control plane's logger
// instead; afterwards klog is as it was. A host that has set a klog logger, an
// output or -logtostderr=false keeps its own.
//
// klog's fatal errors end the process. Where the API server's start hooks
// would do that, only the hook ends: see [contain]. klog prints the error and
// its stack to standard error before that, which nothing can keep it from.
package klogbridge

import (
	"bytes"
	"flag"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/logging"
)

// Attach sends klog's lines to logger until detach is called. With several
// attached, each line goes to each logger once: a line does not say which
// control plane it is about. detach may be called more than once.
func Attach(logger *zap.Logger) (detach func()) {
	return process.attach(logger.Named("klog").WithOptions(zap.WithCaller(false)))
}

// process is the one klog of this process.
var process bridge

type bridge struct {
	// klog holds a lock of its own while it calls Write, and takes it in its
	// setters, which are called with mu held: Write must not take mu.
	mu      sync.Mutex
	loggers map[*zap.Logger]struct{}
	restore func() // what undoes the takeover; nil while klog is the host's
	current atomic.Pointer[[]*zap.Logger]
}

// publish is called with mu held when loggers has changed.
func (b *bridge) publish() {
	loggers := slices.Collect(maps.Keys(b.loggers))
	b.current.Store(&loggers)
}

func (b *bridge) attach(logger *zap.Logger) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := len(b.loggers) == 0
	if first {
		b.loggers = map[*zap.Logger]struct{}{}
	}
	b.loggers[logger] = struct{}{}
	b.publish()
	if first {
		b.restore = takeOver(b)
	}
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.loggers, logger)
		b.publish()
		if len(b.loggers) == 0 && b.restore != nil {
			b.restore()
			b.restore = nil
		}
	})
}

// takeOver redirects klog's output. It uses only those of klog's setters that
// may be called while others log.
func takeOver(w io.Writer) (restore func()) {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if flags.Lookup("logtostderr").Value.String() != "true" {
		return nil // the host writes to files, or to an output of its own
	}
	threshold := flags.Lookup("stderrthreshold").Value.String()
	// klog writes a line to the output of its severity and of all below it:
	// with one output, for the lowest, each line is written once.
	klog.SetOutput(io.Discard)
	klog.SetOutputBySeverity("INFO", w)
	_ = flags.Set("stderrthreshold", "FATAL")
	klog.LogToStderr(false)
	return func() {
		klog.LogToStderr(true)
		_ = flags.Set("stderrthreshold", threshold)
		klog.SetOutput(nil)
	}
}

// Write takes one message of klog, with its header.
func (b *bridge) Write(line []byte) (int, error) {
	level, source, message := parse(line)
	loggers := b.current.Load()
	if loggers == nil {
		return len(line), nil
	}
	for _, logger := range *loggers {
		if entry := logger.Check(level, message); entry != nil {
			entry.Write(zap.String("source", source))
		}
	}
	return len(line), nil
}

// calledOff ends errors about what was called off, on purpose as a rule: a watch
// that is not needed any more, for one.
const calledOff = "context canceled"

// parse splits "E0102 15:04:05.678901   12345 file.go:67] message". Levels are
// one lower than klog's: see logging.Lower.
func parse(line []byte) (level zapcore.Level, source, message string) {
	text := string(bytes.TrimRight(line, "\n"))
	header, message, found := strings.Cut(text, "] ")
	if !found {
		return zapcore.DebugLevel, "", text
	}
	if fields := strings.Fields(header); len(fields) > 0 {
		source = fields[len(fields)-1]
	}
	switch {
	case strings.HasPrefix(header, "F"):
		level = zapcore.ErrorLevel
	case strings.HasPrefix(header, "E"):
		level = logging.Level(zapcore.ErrorLevel)
	case strings.HasPrefix(header, "W"):
		level = logging.Level(zapcore.WarnLevel)
	default:
		level = logging.Level(zapcore.InfoLevel)
	}
	if level == logging.Level(zapcore.ErrorLevel) && strings.HasSuffix(message, calledOff) {
		level = zapcore.DebugLevel
	}
	return level, source, message
}
