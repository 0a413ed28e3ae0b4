// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"os"
	"sync"
)

// temporary is a directory for files of the fixture. It is created with the first file.
type temporary struct {
	mu  sync.Mutex
	dir string
}

// tempDir creates a directory that is removed with the control plane.
func (p *plane) tempDir(kind string) (string, error) {
	p.temporary.mu.Lock()
	defer p.temporary.mu.Unlock()
	if p.temporary.dir == "" {
		dir, err := os.MkdirTemp("", "controlplanetest-*")
		if err != nil {
			return "", err
		}
		p.temporary.dir = dir
	}
	return os.MkdirTemp(p.temporary.dir, kind+"-*")
}

func (t *temporary) remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir := t.dir
	t.dir = ""
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}
