// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/internal/ownership"
)

// store is the directory, or no directory if dir is empty. Writes are collected and made
// together, in order: an Open that fails has not changed the directory.
type store struct {
	dir      string
	imported map[string][]byte // in place of missing files
	pending  []pendingFile
	write    func(path string, data []byte, perm fs.FileMode) error
}

type pendingFile struct {
	name string
	data []byte
}

// newStore returns an error if dir is not a directory. On Windows it would look like an
// empty one.
func newStore(dir string) (*store, error) {
	s := &store{dir: dir, write: files.WriteAtomic}
	if dir == "" {
		return s, nil
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fieldpath.New("pki", "Dir", "%w", err)
	case !info.IsDir():
		return nil, fieldpath.New("pki", "Dir", "%s is not a directory", dir)
	}
	if err := ownership.Tree(dir); err != nil {
		return nil, fieldpath.New("pki", "Dir", "%w", err)
	}
	return s, nil
}

func (s *store) path(name string) string {
	return filepath.Join(s.dir, name)
}

// read returns the content of a file, or nil if it does not exist. A key that others can
// read gets mode 0600.
func (s *store) read(name string) ([]byte, error) {
	if data, ok := s.imported[name]; ok {
		return data, nil
	}
	data, err := s.peek(name)
	if data == nil {
		return nil, err
	}
	path := s.path(name)
	// On Windows, a file has the access list of its directory instead of a mode.
	if strings.HasSuffix(name, ".key") && runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fieldpath.New("pki", "Dir", "reading a file: %w", err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			if err := os.Chmod(path, 0o600); err != nil {
				return nil, fieldpath.New("pki", "Dir", "others may read a private key, and its mode cannot be changed to 0600: %w", err)
			}
		}
	}
	return data, nil
}

// peek returns the content of a file, or nil if it does not exist.
func (s *store) peek(name string) ([]byte, error) {
	if s.dir == "" {
		return nil, nil
	}
	data, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fieldpath.New("pki", "Dir", "reading a file: %w", err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// put plans a write for the next flush.
func (s *store) put(name string, data []byte) {
	if s.dir != "" {
		s.pending = append(s.pending, pendingFile{name, data})
	}
}

// flush makes the planned writes. If one fails, it removes the files and directories that
// it has created.
func (s *store) flush() (err error) {
	pending := s.pending
	s.pending = nil
	if len(pending) == 0 {
		return nil
	}

	var made []string
	defer func() {
		if err == nil {
			return
		}
		// In reverse order, so that a certificate is removed before its key: see openCA.
		for _, path := range slices.Backward(made) {
			_ = os.Remove(path)
		}
		err = fieldpath.New("pki", "Dir", "writing: %w", err)
	}()

	for _, dir := range []string{s.dir, s.path("etcd")} {
		files.RemoveUnfinished(dir)
	}
	for _, file := range pending {
		path := s.path(file.name)
		directories, err := mkdir(filepath.Dir(path))
		made = append(made, directories...)
		if err != nil {
			return err
		}
		if !exists(path) {
			made = append(made, path)
		}
		if err := s.write(path, file.data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// mkdir creates the directory and its missing parents, and syncs their names: a synced
// file is lost if the name of its directory is not synced. It returns the directories
// that it has created, the outermost first.
func mkdir(dir string) (made []string, err error) {
	if exists(dir) {
		return nil, nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if made, err = mkdir(parent); err != nil {
			return made, err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return made, err
	}
	made = append(made, dir)
	// The parent can be writable but not readable.
	if err := files.SyncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return made, err
	}
	return made, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
