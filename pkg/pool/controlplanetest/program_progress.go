// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kubembed/kubembed/pkg/pool/internal/place"
)

// progressFirst is short enough to come at once, and long enough for most cases in which
// nothing is to be said. progressNext is the time between lines.
const (
	progressFirst = 700 * time.Millisecond
	progressNext  = 15 * time.Second
)

// progress writes to standard error that something takes long, until the result is
// called. go test holds the standard error of a package back until its end unless it
// tests only one: the line also goes to the terminal of the process, if there is one.
func progress(what string) (done func()) {
	began, ended, over := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		var t terminal
		defer t.close()
		for wait := progressFirst; ; wait = progressNext {
			select {
			case <-ended:
				return
			case <-time.After(wait):
				line := fmt.Sprintf("controlplanetest: %s (%s so far)\n", what, time.Since(began).Round(time.Second))
				fmt.Fprint(os.Stderr, line)
				t.write(line)
			}
		}
	}()
	return func() { close(ended); <-over }
}

// terminal is that of the process. One of the tests that wait writes to it.
type terminal struct{ turn *fileLock }

func (t *terminal) write(line string) {
	if info, err := os.Stderr.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 {
		return // it has the line
	}
	if t.turn == nil {
		dir, err := place.Dir()
		if err != nil {
			return
		}
		if t.turn, err = tryLockAt(filepath.Join(dir, "terminal.lock")); t.turn == nil || err != nil {
			return
		}
	}
	file, err := openTerminal()
	if err != nil {
		return // as in CI
	}
	fmt.Fprint(file, line)
	_ = file.Close() // nothing can be done about it
}

func (t *terminal) close() {
	if t.turn != nil {
		t.turn.unlock()
	}
}
