// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// answer is a file with the answer of go tool -n, for all tests of the user. go needs
// seconds to compare the packages of Kubernetes with its cache. The name of the
// file has a hash of all that decides the answer.
type answer struct{ path string }

// answerLife is shorter than the five days after which go removes an executable from its
// cache that it has not seen in use.
const answerLife = 24 * time.Hour

// executable is the content of the file.
type executable struct {
	Path     string
	Size     int64
	Modified time.Time
}

func executableAt(path string) (executable, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return executable{}, false
	}
	return executable{path, info.Size(), info.ModTime().UTC()}, true
}

// load returns the executable, or "" if go has to be asked.
func (a answer) load() string {
	if a.path == "" {
		return ""
	}
	info, err := os.Stat(a.path)
	if err != nil {
		return ""
	}
	if age := time.Since(info.ModTime()); age < 0 || age > answerLife {
		return ""
	}
	data, err := os.ReadFile(a.path)
	if err != nil {
		return ""
	}
	var known executable
	if err := json.Unmarshal(data, &known); err != nil {
		return ""
	}
	if now, ok := executableAt(known.Path); !ok || now != known {
		return ""
	}
	return known.Path
}

// store keeps an answer if the executable has only modules that cannot change. A failure
// costs the next test the question to go.
func (t *tool) store(ctx context.Context, a answer, path string) {
	if a.path == "" || !t.constant(ctx, path) {
		return
	}
	known, ok := executableAt(path)
	if !ok {
		return
	}
	data, err := json.Marshal(known)
	if err != nil {
		return
	}
	dir := filepath.Dir(a.path)
	file, err := os.CreateTemp(dir, "new-tool-*")
	if err != nil {
		return
	}
	_, err = file.Write(data)
	if closed := file.Close(); err != nil || closed != nil || os.Rename(file.Name(), a.path) != nil {
		_ = os.Remove(file.Name()) // it was not complete
		return
	}
	others, _ := filepath.Glob(filepath.Join(dir, "tool-*")) // the pattern is good
	for _, other := range others {
		if info, err := os.Stat(other); err == nil && time.Since(info.ModTime()) > answerLife {
			_ = os.Remove(other) // of no use any longer
		}
	}
}

// constant reports whether all modules of an executable have come with a checksum. The
// files of a main module, a member of the workspace and a replacement by a directory
// change.
func (t *tool) constant(ctx context.Context, path string) bool {
	// debug/buildinfo would link the readers of all formats of executables.
	cmd := exec.CommandContext(ctx, t.command, "version", "-m", path)
	cmd.Dir, cmd.Env = t.root, append(t.env, "PWD="+t.root)
	out, err := cmd.Output()
	if err != nil {
		return false
	}
	// A line is "dep", path, version and checksum. The line of a replacement follows, and
	// then only that one has a checksum.
	checked := true
	for line := range strings.Lines(string(out)) {
		kind, module, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if kind != "mod" && kind != "dep" && kind != "=>" {
			continue
		}
		if !checked && kind != "=>" {
			return false
		}
		checked = strings.Contains(module, "\th1:")
	}
	return checked
}
