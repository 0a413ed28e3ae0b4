// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
)

// manifestExtensions are the extensions of the files that are read from directories, as
// in envtest.
var manifestExtensions = []string{".yaml", ".yml", ".json"}

// manifestSources are the sources of manifests.
type manifestSources struct {
	field string   // of Config, for messages: "CRDs"
	paths []string // files, or directories without their subdirectories
	fsys  fs.FS    // of paths, or read whole without paths. If nil, the disk.
	bytes [][]byte
}

// read returns the objects of the given kinds in the order of the sources, and within a
// directory by file name. Other kinds are left out. The error has all problems: paths
// that are missing or have no such object, files that do not parse, and objects of such
// a kind in another version.
func (s manifestSources) read(kinds ...schema.GroupVersionKind) ([]manifest, error) {
	var sources []source
	var errs []error
	paths := s.paths
	if s.fsys != nil && len(paths) == 0 {
		files, err := s.walk()
		sources = append(sources, source{name: s.field + ".FS", deep: true, files: files, err: err})
	}
	for i, path := range paths {
		files, err := s.files(path)
		sources = append(sources, source{name: fmt.Sprintf("%s.Paths[%d] %q", s.field, i, path), files: files, err: err})
	}
	for i, data := range s.bytes {
		name := fmt.Sprintf("%s.Manifests[%d]", s.field, i)
		sources = append(sources, source{name: name, files: []file{{name: name, read: func() ([]byte, error) { return data, nil }}}})
	}
	parseAll(sources)
	var found []manifest
	for _, source := range sources {
		manifests, err := source.only(kinds)
		found = append(found, manifests...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return found, errors.Join(errs...)
}

// source is one entry of a field.
type source struct {
	name  string
	deep  bool // with subdirectories
	files []file
	err   error
}

type file struct {
	name  string
	read  func() ([]byte, error)
	found []manifest
	err   error
}

// parseAll reads and parses the files in parallel. On one processor, parsing YAML would
// take most of the time of an install.
func parseAll(sources []source) {
	var all []*file
	for _, source := range sources {
		for i := range source.files {
			all = append(all, &source.files[i])
		}
	}
	workqueue.ParallelizeUntil(context.Background(), runtime.GOMAXPROCS(0), len(all), func(i int) {
		file := all[i]
		data, err := file.read()
		if err != nil {
			file.err = fmt.Errorf("%s: %w", file.name, err)
			return
		}
		file.found, file.err = parse(file.name, data)
	})
}

func (s source) only(kinds []schema.GroupVersionKind) ([]manifest, error) {
	if s.err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, s.err)
	}
	var found []manifest
	var errs []error
	for _, file := range s.files {
		if file.err != nil {
			errs = append(errs, file.err)
		}
		for _, m := range file.found {
			i := slices.IndexFunc(kinds, func(kind schema.GroupVersionKind) bool { return kind.Kind == m.gvk.Kind })
			switch {
			case i < 0:
			case kinds[i] != m.gvk:
				errs = append(errs, fmt.Errorf("%v: apiVersion is %q, which this control plane does not serve: convert it to %q",
					m, m.gvk.GroupVersion(), kinds[i].GroupVersion()))
			default:
				found = append(found, m)
			}
		}
	}
	if len(found) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: found no %s%s", s.name, names(kinds), s.contents()))
	}
	return found, errors.Join(errs...)
}

// contents describes the files of the source for an error.
func (s source) contents() string {
	switch {
	case len(s.files) == 1:
		return ""
	case len(s.files) > 1:
		return fmt.Sprintf(" in %d files", len(s.files))
	case s.deep:
		return ": it has no " + strings.Join(manifestExtensions, ", ") + " files"
	default:
		return ": the directory has no " + strings.Join(manifestExtensions, ", ") + " files (subdirectories are not read)"
	}
}

func names(kinds []schema.GroupVersionKind) string {
	var names []string
	for _, kind := range kinds {
		names = append(names, kind.Kind)
	}
	return strings.Join(names, " or ")
}

// files returns the file at path, or the files of the directory without subdirectories:
// in the usual layout these have patches and kustomizations.
func (s manifestSources) files(name string) ([]file, error) {
	if s.fsys != nil {
		// Accept "./crds/", as on the disk.
		name = path.Clean(filepath.ToSlash(name))
	}
	info, err := s.stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []file{s.file(name)}, nil
	}
	entries, err := s.readDir(name)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, entry := range entries {
		full := path.Join(name, entry.Name())
		if s.fsys == nil {
			full = filepath.Join(name, entry.Name())
		}
		if !isManifest(full) {
			continue
		}
		// Follow links to files, which Bazel's sandbox has.
		if info, err := s.stat(full); err != nil {
			return nil, err
		} else if !info.IsDir() {
			files = append(files, s.file(full))
		}
	}
	return files, nil
}

// walk returns the files of all directories.
func (s manifestSources) walk() ([]file, error) {
	var files []file
	err := fs.WalkDir(s.fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && isManifest(name) {
			files = append(files, s.file(name))
		}
		return err
	})
	return files, err
}

func isManifest(name string) bool { return slices.Contains(manifestExtensions, filepath.Ext(name)) }

func (s manifestSources) stat(name string) (fs.FileInfo, error) {
	if s.fsys != nil {
		return fs.Stat(s.fsys, name)
	}
	return os.Stat(name)
}

func (s manifestSources) readDir(name string) ([]fs.DirEntry, error) {
	if s.fsys != nil {
		return fs.ReadDir(s.fsys, name)
	}
	return os.ReadDir(name)
}

func (s manifestSources) file(name string) file {
	return file{name: name, read: func() ([]byte, error) {
		if s.fsys != nil {
			return fs.ReadFile(s.fsys, name)
		}
		return os.ReadFile(name)
	}}
}
