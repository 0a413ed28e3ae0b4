// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import "sync"

// owner is the test or the control plane that webhooks or APIServices are installed for.
type owner struct {
	name string
	// logf writes to the log of the test until silence is called.
	logf    func(format string, args ...any)
	silence func()
	// tempDir creates a directory that is removed at the end.
	tempDir func() (string, error)
}

func ownerOf(t TB) owner {
	var mu sync.Mutex
	var ended bool
	return owner{
		name: t.Name(),
		logf: func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			// Logf panics after the end of the test.
			if !ended {
				t.Logf(format, args...)
			}
		},
		silence: func() {
			mu.Lock()
			defer mu.Unlock()
			ended = true
		},
		tempDir: func() (string, error) { return t.TempDir(), nil },
	}
}

// configOwner is the owner of the webhooks of Config.
func (p *plane) configOwner() owner {
	return owner{
		name:    "Config",
		logf:    p.logf,
		silence: func() {},
		tempDir: func() (string, error) { return p.tempDir("webhooks") },
	}
}
