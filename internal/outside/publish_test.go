// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package outside_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// publish publishes the files of the checkout as a version of the library in a module
// proxy, which is a directory. It returns the version and the environment for the go
// command. Only that version comes from the proxy, and the end of the test removes it
// from the module cache.
func publish(t *testing.T) (version string, env []string) {
	t.Helper()
	root, proxy := checkout(t), t.TempDir()
	names := moduleFiles(t, root)
	contents := make(map[string][]byte, len(names))
	hash := sha256.New()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		contents[name] = data
		hash.Write([]byte(name))
		hash.Write(data)
	}
	// The same files get the same version, so that they are built once.
	made := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	version = "v0.0.0-" + made.Format("20060102150405") + "-" + hex.EncodeToString(hash.Sum(nil))[:12]

	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	for _, name := range names {
		file, err := writer.Create(library + "@" + version + "/" + name)
		if err == nil {
			_, err = file.Write(contents[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": made})
	if err != nil {
		t.Fatal(err)
	}
	directory := filepath.Join(proxy, filepath.FromSlash(library), "@v")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "list"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for ending, data := range map[string][]byte{".info": info, ".mod": contents["go.mod"], ".zip": archive.Bytes()} {
		if err := os.WriteFile(filepath.Join(directory, version+ending), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The answer to go get without a version.
	if err := os.WriteFile(filepath.Join(filepath.Dir(directory), "@latest"), info, 0o600); err != nil {
		t.Fatal(err)
	}
	cache := strings.TrimSpace(goCommand(t, root, nil, "env", "GOMODCACHE"))
	t.Cleanup(func() { forget(t, cache, version) })
	upstream := strings.TrimSpace(goCommand(t, root, nil, "env", "GOPROXY"))
	return version, []string{
		"GOPROXY=file://" + slashes(proxy) + "," + upstream,
		"GONOSUMDB=" + library, // not in the checksum database
		// So that the version can be removed.
		"GOFLAGS=" + strings.TrimSpace(os.Getenv("GOFLAGS")+" -modcacherw"),
	}
}

// slashes returns a path as the path of a file URL.
func slashes(directory string) string {
	directory = filepath.ToSlash(directory)
	if !strings.HasPrefix(directory, "/") {
		directory = "/" + directory // Windows
	}
	return directory
}

// moduleFiles returns the files of the module, without other modules in its
// directories.
func moduleFiles(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != ".":
			if _, err := os.Stat(filepath.Join(root, name, "go.mod")); err == nil || strings.HasPrefix(path.Base(name), ".") {
				return fs.SkipDir
			}
		case entry.Type().IsRegular():
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// forget removes a version of the library from the module cache.
func forget(t *testing.T, cache, version string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(cache, filepath.FromSlash(library)+"@"+version)); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(filepath.Join(cache, "cache", "download", filepath.FromSlash(library), "@v", version+".*"))
	if err != nil {
		t.Error(err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	}
}
