// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// master is a master that runs in this process.
type master struct {
	dir    string // of the kubeconfig files
	stdout *output
	stop   context.CancelFunc
	done   chan error
}

// start runs a master on free ports until the end of the test.
func start(t *testing.T, args ...string) *master {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &master{dir: t.TempDir(), stdout: newOutput("Press Ctrl-C"), stop: cancel, done: make(chan error, 1)}
	stderr := newOutput("")
	go func() {
		m.done <- run(ctx, append([]string{"--bind-address=127.0.0.1:0", "--kubeconfig-dir=" + m.dir}, args...), m.stdout, stderr)
	}()
	t.Cleanup(func() {
		cancel()
		if m.done != nil {
			if err := <-m.done; err != nil {
				t.Error(err)
			}
		}
		if name := loggedField(stderr.String()); name != "" {
			t.Errorf("the log has %s, a field of the library, instead of a flag", name)
		}
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", m.stdout, stderr)
		}
	})
	select {
	case <-m.stdout.seen:
	case err := <-m.done:
		m.done = nil
		t.Fatal("ended before it was ready:", err)
	case <-time.After(time.Minute):
		t.Fatal("not ready within a minute")
	}
	return m
}

// loggedField returns a name of a field that is in a log, where words like Hosts are no
// names.
func loggedField(log string) string {
	for path := range fieldFlags {
		if strings.ContainsAny(path[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && regexp.MustCompile(`\b`+regexp.QuoteMeta(path)+`\b`).MatchString(log) {
			return path
		}
	}
	return regexp.MustCompile(`Config\.[A-Z]\w+|JoinKubeconfig`).FindString(log)
}

// end stops the master as Ctrl-C does, and waits.
func (m *master) end(t *testing.T) {
	t.Helper()
	m.stop()
	err := <-m.done
	m.done = nil
	if err != nil {
		t.Error(err)
	}
}

// client returns a client for a kubeconfig file, as kubectl reads it.
func (m *master) client(t *testing.T, name string) (kubernetes.Interface, *rest.Config) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(m.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client, config
}

// find returns what the pattern's group matches in the text.
func (m *master) find(t *testing.T, pattern string) string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(m.stdout.String())
	if match == nil {
		t.Fatalf("nothing like %q in:\n%s", pattern, m.stdout)
	}
	return match[1]
}

// output is a writer that reports when a text has been written to it.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen chan struct{}
	once sync.Once
}

func newOutput(text string) *output { return &output{text: text, seen: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	if strings.Contains(o.buf.String(), o.text) {
		o.once.Do(func() { close(o.seen) })
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// fails runs a master whose start must fail, and returns the error.
func fails(t *testing.T, args ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stdout, stderr := newOutput(""), newOutput("")
	err := run(ctx, append([]string{"--kubeconfig-dir=" + t.TempDir()}, args...), stdout, stderr)
	if err == nil {
		t.Fatalf("no error; stdout:\n%s", stdout)
	}
	if name := loggedField(stderr.String()); name != "" {
		t.Errorf("the log has %s, a field of the library, instead of a flag:\n%s", name, stderr)
	}
	return err
}
