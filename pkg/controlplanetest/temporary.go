// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"os"
	"sync"

	"github.com/kubembed/kubembed/internal/tempdir"
)

// temporary is a directory for files of the fixture. It is created with the first file.
type temporary struct {
	mu  sync.Mutex
	dir *tempdir.Dir
}

// tempDir creates a directory that is removed with the control plane.
func (p *plane) tempDir(kind string) (string, error) {
	p.temporary.mu.Lock()
	defer p.temporary.mu.Unlock()
	if p.temporary.dir == nil {
		dir, err := tempdir.Make("test")
		if err != nil {
			return "", err
		}
		p.temporary.dir = dir
	}
	return os.MkdirTemp(p.temporary.dir.Path, kind+"-*")
}

func (t *temporary) remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.dir.Remove()
	t.dir = nil
	return err
}
