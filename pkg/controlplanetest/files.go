package controlplanetest

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/kubembed/kubembed/internal/tempdir"
)

// files are the contents of the files that Config names.
type files struct {
	crds     []customResource
	webhooks []registration
}

// readFiles reads them before the control plane starts, so that all problems with them
// and with the rest of the configuration are reported at once.
func (p *plane) readFiles() (err error) {
	var errs []error
	if !p.config.CRDs.empty() {
		if p.read.crds, err = p.config.CRDs.read(); err != nil {
			errs = append(errs, fmt.Errorf("install CRDs: %w", err))
		}
	}
	if !p.config.Webhooks.empty() {
		if p.read.webhooks, err = p.config.Webhooks.read("Webhooks"); err != nil {
			errs = append(errs, fmt.Errorf("install webhooks: %w", err))
		}
	}
	if len(errs) == 0 {
		return nil // Start validates the rest
	}
	return errors.Join(append(errs, p.config.ControlPlane.Validate())...)
}

// temporary is a directory for the files of the fixture, which is made when there is one.
type temporary struct {
	mu  sync.Mutex
	dir *tempdir.Dir
}

// tempDir makes a directory that is removed with the control plane at the latest.
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
