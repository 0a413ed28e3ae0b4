// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// observed returns a logger and its lines.
func observed(level zapcore.Level) (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(level)
	return zap.New(core), logs
}

// logLine waits for a line with that message and those fields, and returns its fields. An
// empty value matches any.
func logLine(t *testing.T, logs *observer.ObservedLogs, level zapcore.Level, message string, fields ...string) (found map[string]any) {
	t.Helper()
	testwait.True(t, fmt.Sprintf("%s: %s %v", level, message, fields), func() bool {
		for _, entry := range logs.FilterMessageSnippet(message).All() {
			found = entry.ContextMap()
			same := entry.Level == level
			for i := 0; i < len(fields); i += 2 {
				value, ok := found[fields[i]]
				same = same && ok && strings.Contains(fmt.Sprint(value), fields[i+1])
			}
			if same {
				return true
			}
		}
		return false
	})
	return found
}

// warnings returns the lines of level warn and above.
func warnings(logs *observer.ObservedLogs) (lines []string) {
	for _, entry := range logs.All() {
		if entry.Level >= zapcore.WarnLevel {
			lines = append(lines, fmt.Sprint(entry.Level, " ", entry.Message, " ", entry.ContextMap()))
		}
	}
	return lines
}

// TestLogOfALife: info level has the lines for operators, and only problems are warnings.
func TestLogOfALife(t *testing.T) {
	dir := t.TempDir()
	logger, logs := observed(zapcore.DebugLevel)
	cfg := parts(&part{name: "idle", run: idle})
	cfg.Logger, cfg.DataDir = logger, dir
	cfg.Snapshots = controlplane.Snapshots{Interval: 20 * time.Millisecond, Keep: 1}
	server := start(t, cfg)
	logLine(t, logs, zapcore.InfoLevel, "starting", "dataDir", dir, "version", "v1.")
	logLine(t, logs, zapcore.InfoLevel, "component is ready", "component", "idle", "took", "")
	logLine(t, logs, zapcore.InfoLevel, "started", "address", server.URL(), "version", "v1.", "dataDir", dir, "took", "")

	first := logLine(t, logs, zapcore.InfoLevel, "snapshot written", "path", dir, "took", "", "size", "")
	if size, _ := first["size"].(int64); size <= 0 {
		t.Errorf("size: got %v, want more than 0", first["size"])
	}
	logLine(t, logs, zapcore.InfoLevel, "snapshot removed", "path", first["path"].(string))

	nodes := admin(t, server).CoreV1().Nodes()
	node, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	logLine(t, logs, zapcore.InfoLevel, "node joined", "node", "worker1")
	for _, status := range []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue} {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
		if node, err = nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	logLine(t, logs, zapcore.InfoLevel, "node is ready", "node", "worker1")
	if lines := warnings(logs); len(lines) > 0 {
		t.Errorf("warnings: got %q, want none", lines)
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status."}}
	if _, err := nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	logLine(t, logs, zapcore.WarnLevel, "node is not ready any more", "node", "worker1", "reason", "NodeStatusUnknown", "detail", "stopped posting")
	if err := nodes.Delete(t.Context(), "worker1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	logLine(t, logs, zapcore.InfoLevel, "node was removed", "node", "worker1")

	closeServer(t, server)
	logLine(t, logs, zapcore.InfoLevel, "stopping", "reason", "Shutdown or Close was called")
	logLine(t, logs, zapcore.InfoLevel, "stopped", "took", "")
	if lines := warnings(logs); len(lines) != 1 { // about the node
		t.Errorf("warnings: got %q, want one about the node", lines)
	}
	for _, entry := range logs.All() {
		if upstream := entry.LoggerName == "klog" || entry.LoggerName == "etcd"; upstream && entry.Level == zapcore.InfoLevel && !strings.Contains(entry.Message, "slow") {
			t.Errorf("log: got %v %v, want no line of upstream's at info", entry.Entry, entry.ContextMap())
		}
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("log: got a key in %.200s, want none", text)
		}
	}

	// The next start logs no warning.
	logs.TakeAll()
	cfg.Snapshots = controlplane.Snapshots{}
	closeServer(t, start(t, cfg))
	if lines := warnings(logs); len(lines) > 0 {
		t.Errorf("warnings of a second start: got %q, want none", lines)
	}
}

// addressForOthers returns an address of this machine that other machines reach.
func addressForOthers(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if ip, ok := address.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has loopback only")
	return ""
}

// TestStartForOthersLogsNoStaleData: the first start on an address that workers reach
// once logged that the API server had not exited successfully, and so did each start
// after a stop.
func TestStartForOthersLogsNoStaleData(t *testing.T) {
	logger, logs := observed(zapcore.WarnLevel)
	cfg := controlplane.Config{DataDir: t.TempDir(), BindAddress: net.JoinHostPort(addressForOthers(t), "0"), Logger: logger}
	for _, run := range []string{"first", "second"} {
		server := start(t, cfg)
		testwait.Until(t, "the kubernetes Service has no endpoints", func(context.Context) error {
			endpoints, err := admin(t, server).CoreV1().Endpoints("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
			if err != nil || len(endpoints.Subsets) != 1 {
				return unexpected(endpoints, err)
			}
			return nil
		})
		closeServer(t, server)
		if lines := warnings(logs); len(lines) > 0 {
			t.Errorf("warnings of the %s run: got %q, want none", run, lines)
		}
	}
}

// TestCrashIsLogged: the next start logs a crash, on every address.
func TestCrashIsLogged(t *testing.T) {
	dir := t.TempDir()
	host := startProcess(t, "hold", dir)
	host.readLine(t)
	_ = host.Process.Kill()
	_ = host.Wait()
	logger, logs := observed(zapcore.WarnLevel)
	server := start(t, controlplane.Config{DataDir: dir, Logger: logger})
	logLine(t, logs, zapcore.WarnLevel, "was not stopped the last time", "dataDir", dir)
	closeServer(t, server)
	logs.TakeAll()
	closeServer(t, start(t, controlplane.Config{DataDir: dir, Logger: logger}))
	if n := logs.FilterMessageSnippet("was not stopped").Len(); n > 0 {
		t.Errorf("log after a stop: got %v, want nothing about a missing stop", logs.All())
	}
}

// TestFailedStartIsLogged: the log has an error with the text that Start returns, for
// each fault in DURABILITY.md.
func TestFailedStartIsLogged(t *testing.T) {
	dir := t.TempDir()
	closeServer(t, start(t, controlplane.Config{DataDir: dir}))
	if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	logger, logs := observed(zapcore.InfoLevel)
	_, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir, Logger: logger})
	if err == nil {
		t.Fatal("Start: got no error, want one")
	}
	entry := logLine(t, logs, zapcore.ErrorLevel, "the start has failed", "dataDir", dir, "took", "")
	if text := fmt.Sprint(entry["error"]); !strings.HasSuffix(err.Error(), text) || !strings.Contains(text, "etcd is missing") {
		t.Errorf("the log: got %q, want the error of Start, %q", text, err)
	}

	// A canceled start is not a failure.
	logs.TakeAll()
	ctx, cancel := context.WithCancel(t.Context())
	cfg := parts(&part{name: "slow", run: func(ctx context.Context, _ *rest.Config, _ func()) error {
		cancel()
		<-ctx.Done()
		return nil
	}})
	cfg.Logger = logger
	if _, err := controlplane.Start(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("Start: got %v, want context.Canceled", err)
	}
	logLine(t, logs, zapcore.InfoLevel, "the start was canceled")
	if lines := warnings(logs); len(lines) > 0 {
		t.Errorf("warnings: got %q, want none", lines)
	}
}

// TestFailureIsLogged: a control plane that fails logs the cause.
func TestFailureIsLogged(t *testing.T) {
	logger, logs := observed(zapcore.InfoLevel)
	fail := make(chan struct{})
	cfg := parts(&part{name: "bad", run: func(_ context.Context, _ *rest.Config, ready func()) error {
		ready()
		<-fail
		return errors.New("out of luck")
	}})
	cfg.Logger = logger
	server := start(t, cfg)
	close(fail)
	<-server.Done()
	logLine(t, logs, zapcore.ErrorLevel, "the control plane has failed, and stops", "error", "component bad: out of luck")
	logLine(t, logs, zapcore.InfoLevel, "stopped", "took", "")
}

// TestStartWaitsAloud: the log names the components that a start waits for.
func TestStartWaitsAloud(t *testing.T) {
	t.Cleanup(controlplane.SetWaiting(20 * time.Millisecond))
	logger, logs := observed(zapcore.InfoLevel)
	release := make(chan struct{})
	cfg := parts(&part{name: "slow", run: func(ctx context.Context, config *rest.Config, ready func()) error {
		<-release
		return idle(ctx, config, ready)
	}})
	cfg.Logger = logger
	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer close(release)
		logLine(t, logs, zapcore.WarnLevel, "the start waits for components", "component", "slow", "for", "")
	})
	start(t, cfg)
	waiting.Wait()
}

// TestKlogPairsAreFields: key-value pairs become fields of the log.
func TestKlogPairsAreFields(t *testing.T) {
	logger, logs := observed(zapcore.WarnLevel)
	start(t, controlplane.Config{Logger: logger})
	klog.ErrorS(errors.New("the cause"), "a message of upstream's", "pod", klog.KRef("ns", "name"), "tries", 3)
	fields := logLine(t, logs, zapcore.WarnLevel, "a message of upstream's", "pod", "ns/name", "tries", "3", "error", "the cause", "source", "lifecyclelog_test.go:")
	if len(fields) != 4 {
		t.Errorf("fields: got %v, want 4", fields)
	}
	if !slices.ContainsFunc(logs.All(), func(e observer.LoggedEntry) bool {
		return e.Message == "a message of upstream's" && e.LoggerName == "klog"
	}) {
		t.Error("got a line with more than the message, want the message")
	}
}
