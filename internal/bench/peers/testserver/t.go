// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// t stands in for a *testing.T.
type t struct {
	dir string

	mutex    sync.Mutex
	cleanups []func()
	failed   bool
}

// errFatal is the panic value of a fatal error. It replaces the end of a test.
var errFatal = errors.New("testserver: fatal")

func (t *t) Cleanup(f func()) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.cleanups = append(t.cleanups, f)
}

// cleanup calls the registered functions, the last first.
func (t *t) cleanup() {
	for {
		t.mutex.Lock()
		n := len(t.cleanups)
		if n == 0 {
			t.mutex.Unlock()
			return
		}
		f := t.cleanups[n-1]
		t.cleanups = t.cleanups[:n-1]
		t.mutex.Unlock()
		f()
	}
}

func (t *t) Attr(string, string) {}
func (t *t) Chdir(string)        {}
func (t *t) Helper()             {}
func (t *t) Name() string        { return "testserver" }
func (t *t) TempDir() string     { return t.dir }
func (t *t) Log(...any)          {}
func (t *t) Logf(string, ...any) {}

func (t *t) Setenv(key, value string) { _ = os.Setenv(key, value) }

func (t *t) Error(args ...any)                 { t.say(fmt.Sprint(args...)) }
func (t *t) Errorf(format string, args ...any) { t.say(fmt.Sprintf(format, args...)) }
func (t *t) Fatal(args ...any)                 { t.Error(args...); t.FailNow() }
func (t *t) Fatalf(format string, args ...any) { t.Errorf(format, args...); t.FailNow() }
func (t *t) Fail()                             { t.say("failed") }
func (t *t) FailNow()                          { panic(errFatal) }
func (t *t) Skip(args ...any)                  { t.Fatal(args...) }
func (t *t) Skipf(format string, args ...any)  { t.Fatalf(format, args...) }
func (t *t) SkipNow()                          { t.FailNow() }
func (t *t) Skipped() bool                     { return false }

func (t *t) Failed() bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.failed
}

func (t *t) say(text string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.failed = true
	fmt.Fprintln(os.Stderr, "testserver:", text)
}
