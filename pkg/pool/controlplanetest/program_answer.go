// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
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

// answer returns the file in dir. It has no path if other files decide: a vendor
// directory, and files of flags in GOFLAGS.
func (t *tool) answer(dir string) answer {
	flags := goSetting("GOFLAGS")
	if t.modfile == "" && (t.vendored() || strings.Contains(flags, "-modfile")) || strings.Contains(flags, "-overlay") {
		return answer{}
	}
	sum := sha256.New()
	if info, err := os.Stat(t.command); err == nil {
		fmt.Fprintln(sum, t.command, info.Size(), info.ModTime().UnixNano())
	}
	fmt.Fprintln(sum, t.root, t.work)
	variables := slices.Clone(t.env)
	slices.Sort(variables)
	for _, variable := range variables {
		if strings.HasPrefix(variable, "GO") || strings.HasPrefix(variable, "C") {
			fmt.Fprintln(sum, variable)
		}
	}
	sum.Write(goEnvFile())
	modfile := filepath.Join(t.root, "go.mod")
	if t.modfile != "" {
		if modfile = t.modfile; !filepath.IsAbs(modfile) {
			modfile = filepath.Join(t.root, modfile)
		}
	}
	add(sum, modfile, 0)
	if t.work != "" {
		add(sum, t.work, 0)
	}
	return answer{filepath.Join(dir, "tool-"+hex.EncodeToString(sum.Sum(nil)[:16]))}
}

// add adds a go.mod or go.work, its sums, and the go.mod of all directories that it
// names: members of a workspace, and replacements, whose requirements count.
func add(sum hash.Hash, file string, depth int) {
	data, err := os.ReadFile(file)
	if err != nil || depth > 3 {
		return
	}
	fmt.Fprintf(sum, "%s %d\n", file, len(data))
	sum.Write(data)
	sums := strings.TrimSuffix(file, ".mod") + ".sum"
	if strings.HasSuffix(file, ".work") {
		sums = file + ".sum"
	}
	more, _ := os.ReadFile(sums) // a module without requirements has none
	fmt.Fprintln(sum, len(more))
	sum.Write(more)
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "//")
		for word := range strings.FieldsSeq(line) {
			word = strings.Trim(word, "\"`")
			if word != "." && !strings.HasPrefix(word, "./") && !strings.HasPrefix(word, "../") && word != ".." && !filepath.IsAbs(word) {
				continue
			}
			if !filepath.IsAbs(word) {
				word = filepath.Join(filepath.Dir(file), word)
			}
			if named := filepath.Join(word, "go.mod"); named != file {
				add(sum, named, depth+1)
			}
		}
	}
}

// goEnvFile returns the content of the file of go env -w, which is mostly missing.
func goEnvFile() []byte {
	file := os.Getenv("GOENV")
	if file == "off" {
		return nil
	}
	if file == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil
		}
		file = filepath.Join(dir, "go", "env")
	}
	data, _ := os.ReadFile(file)
	return data
}

// goSetting returns a setting of the go command.
func goSetting(name string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	for line := range bytes.Lines(goEnvFile()) {
		if value, ok := bytes.CutPrefix(line, []byte(name+"=")); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
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
func (a answer) store(path string) {
	if a.path == "" || !constant(path) {
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
func constant(path string) bool {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return false
	}
	for _, module := range append(info.Deps, &info.Main) {
		if !fixed(module) {
			return false
		}
	}
	return true
}

func fixed(module *debug.Module) bool {
	if module.Replace != nil {
		module = module.Replace
	}
	return module.Sum != ""
}
