// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

const (
	nginxImage   = "docker.io/library/nginx:latest"
	sandboxImage = "kubembed.invalid/pause:latest"
)

// buildImages writes an archive with both images in the format of "docker save". They
// have one layer with one program under many names.
func buildImages(t *testing.T, dir string) (archive string) {
	t.Helper()
	program := filepath.Join(dir, "container")
	build(t, []string{"CGO_ENABLED=0"}, program, "-trimpath", "-ldflags=-s -w", "./container")
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	layer := pack(t,
		file{Header: tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o777}},
		file{Header: tar.Header{Name: "bin/container", Mode: 0o755}, content: content},
		link("nginx"), link("pause"), link("cat"), link("echo"), link("exit"), link("tar"), link("winsize"),
	)
	config := func(entrypoint string) []byte {
		return asJSON(t, map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Entrypoint": []string{entrypoint}, "Env": []string{"PATH=/bin"}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
		})
	}
	type image struct {
		Config           string
		RepoTags, Layers []string
	}
	manifest := asJSON(t, []image{
		{"nginx.json", []string{nginxImage}, []string{"layer.tar"}},
		{"pause.json", []string{sandboxImage}, []string{"layer.tar"}},
	})
	archive = filepath.Join(dir, "images.tar")
	images := pack(t, regular("manifest.json", manifest), regular("layer.tar", layer),
		regular("nginx.json", config("/bin/nginx")), regular("pause.json", config("/bin/pause")))
	if err := os.WriteFile(archive, images, 0o600); err != nil {
		t.Fatal(err)
	}
	return archive
}

type file struct {
	tar.Header
	content []byte
}

func regular(name string, content []byte) file {
	return file{Header: tar.Header{Name: name, Mode: 0o644}, content: content}
}

// link is another name of the program.
func link(name string) file {
	return file{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "container"}}
}

func pack(t *testing.T, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		f.Size = int64(len(f.content))
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// build builds one program, or several into a directory.
func build(t *testing.T, env []string, output string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", append([]string{"build", "-o", output}, args...)...)
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", c.Args, err, out)
	}
}
