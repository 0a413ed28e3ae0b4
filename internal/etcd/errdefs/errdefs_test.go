// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package errdefs_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
)

// TestCorrupt: the error names the field, the file and the remedy, and callers can take
// the file's part out of it.
func TestCorrupt(t *testing.T) {
	panicked := contain.New().Run(func() error { panic("page 7 is free twice") })
	if panicked == nil || !strings.Contains(panicked.Error(), "goroutine ") {
		t.Fatalf("got %v, want a panic with its stack", panicked)
	}
	for name, c := range map[string]struct {
		err  error
		want string // the file's part
	}{
		"an error": {fs.ErrNotExist, "/data/db: file does not exist"},
		"a panic":  {panicked, "/data/db: page 7 is free twice"},
	} {
		err := errdefs.Corrupt("/data/db", c.err)
		if !errors.Is(err, errdefs.ErrCorrupt) {
			t.Errorf("%s: %v is no ErrCorrupt", name, err)
		}
		if want := "etcd: Config.Dir: data directory is damaged: " + c.want + ": restore the directory from a backup, or name an empty one"; err.Error() != want {
			t.Errorf("%s: got %q, want %q", name, err, want)
		}
		var file *errdefs.FileError
		if !errors.As(err, &file) || file.Path != "/data/db" || file.Error() != c.want {
			t.Errorf("%s: the file's part is %+v, want %q", name, file, c.want)
		}
	}
	if err := errdefs.Corrupt("/data/db", fs.ErrNotExist); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap its cause", err)
	}
}
