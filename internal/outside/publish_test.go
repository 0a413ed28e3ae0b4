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
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// clientModule has the fixture whose control planes are in another process. It is in a
// directory of the library, and not part of it.
const clientModule = library + "/pkg/pool"

// made is the time of published versions.
var made = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// publish publishes the files of the checkout as a version of the library and of
// clientModule in a module proxy, which is a directory. It returns the version and the
// environment for the go command. Only that version comes from the proxy, and the end of
// the test removes it from the module cache.
func publish(t *testing.T) (version string, env []string) {
	t.Helper()
	root, proxy := checkout(t), t.TempDir()
	modules := map[string]map[string][]byte{
		library:      moduleFiles(t, root),
		clientModule: moduleFiles(t, filepath.Join(root, "pkg", "pool")),
	}
	// The same files get the same version, so that they are built once.
	hash := sha256.New()
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		for _, name := range slices.Sorted(maps.Keys(modules[module])) {
			hash.Write([]byte(module + "/" + name))
			hash.Write(modules[module][name])
		}
	}
	version = "v0.0.0-" + made.Format("20060102150405") + "-" + hex.EncodeToString(hash.Sum(nil))[:12]
	for module, contents := range modules {
		publishModule(t, proxy, module, version, contents)
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

// publishModule writes a version of a module to a proxy.
func publishModule(t *testing.T, proxy, module, version string, contents map[string][]byte) {
	t.Helper()
	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		file, err := writer.Create(module + "@" + version + "/" + name)
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
	directory := filepath.Join(proxy, filepath.FromSlash(module))
	for name, data := range map[string][]byte{
		"@v/list":                 nil,
		"@v/" + version + ".info": info,
		"@v/" + version + ".mod":  contents["go.mod"],
		"@v/" + version + ".zip":  archive.Bytes(),
		"@latest":                 info, // the answer to go get without a version
	} {
		write(t, filepath.Join(directory, filepath.FromSlash(name)), string(data))
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

// moduleFiles returns the files of the module in a directory, without other modules in
// its subdirectories.
func moduleFiles(t *testing.T, root string) map[string][]byte {
	t.Helper()
	contents := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != ".":
			if _, err := os.Stat(filepath.Join(root, name, "go.mod")); err == nil || strings.HasPrefix(path.Base(name), ".") {
				return fs.SkipDir
			}
		case entry.Type().IsRegular():
			contents[name], err = os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

// TestModulesHaveTheirOwnFiles: the go command finds a package in the module with the
// longest path, so that the files of clientModule must not be in the library, too.
func TestModulesHaveTheirOwnFiles(t *testing.T) {
	root := checkout(t)
	files := moduleFiles(t, root)
	for name := range files {
		if strings.HasPrefix(name, "pkg/pool/") {
			t.Errorf("the library has %s", name)
		}
	}
	if files["pkg/controlplanetest/controlplanes/main.go"] == nil {
		t.Error("the library does not have the program controlplanes")
	}
	files = moduleFiles(t, filepath.Join(root, "pkg", "pool"))
	for _, name := range []string{"go.mod", "controlplanetest/config.go"} {
		if files[name] == nil {
			t.Errorf("%s does not have %s", clientModule, name)
		}
	}
}

// forget removes a version of the modules from the module cache.
func forget(t *testing.T, cache, version string) {
	t.Helper()
	for _, module := range []string{library, clientModule} {
		if err := os.RemoveAll(filepath.Join(cache, filepath.FromSlash(module)+"@"+version)); err != nil {
			t.Error(err)
		}
		files, err := filepath.Glob(filepath.Join(cache, "cache", "download", filepath.FromSlash(module), "@v", version+".*"))
		if err != nil {
			t.Error(err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		}
	}
}
