// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

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
