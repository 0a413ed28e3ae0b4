// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubembed/kubembed/pkg/pool/internal/place"
)

// tool is the tool controlplanes of the module of the working directory. go tool ignores
// all flags of GOFLAGS but -modfile, -modcacherw and -overlay: -race, -cover, -tags and
// -mod neither slow nor break it.
type tool struct {
	command string // go
	root    string // the directory of go.mod, or of go.work outside of its modules
	modfile string
	work    string // go.work, or empty
	env     []string
}

// findTool returns the executable of the tool. It is built, or go says that it is, or go
// has said so to a test of this user within a day.
func findTool(ctx context.Context, modfile string) (string, error) {
	t, err := newTool(modfile)
	if err != nil {
		return "", err
	}
	dir, err := place.Dir()
	if err != nil {
		return "", err
	}
	answer := t.answer(dir)
	if path := answer.load(); path != "" {
		return path, nil
	}
	held, err := lock(ctx, filepath.Join(dir, "build.lock"), "waiting for another test that builds the program controlplanes")
	if err != nil {
		return "", err
	}
	defer held.unlock()
	if path := answer.load(); path != "" { // the other test has built it
		return path, nil
	}
	if known, ok := found.Load(modfile); ok {
		return known.(string), nil
	}
	path, err := t.build(ctx, dir, held)
	if err != nil {
		return "", err
	}
	t.store(ctx, answer, path)
	return path, nil
}

func newTool(modfile string) (*tool, error) {
	command, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("the program controlplanes is a tool of the module, and there is no go command: add its directory to PATH, or name a program in Config.Program or %s: %w", programVariable, err)
	}
	directory, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	t := &tool{command: command, modfile: modfile, work: goSetting("GOWORK"), root: above(directory, "go.mod")}
	if t.work == "" {
		if parent := above(directory, "go.work"); parent != "" {
			t.work = filepath.Join(parent, "go.work")
		}
	}
	if modfile != "" || t.work == "off" {
		t.work = ""
	}
	if t.root == "" && t.work != "" {
		t.root = filepath.Dir(t.work)
	}
	if t.root == "" {
		return nil, fmt.Errorf("the program controlplanes is a tool of the module, and %s is in none: run the test in its module, or name a program in Config.Program or %s", directory, programVariable)
	}
	t.env = t.environment()
	return t, nil
}

// above returns the next directory with a file, from a directory upwards, or "".
func above(directory, name string) string {
	for {
		if info, err := os.Stat(filepath.Join(directory, name)); err == nil && !info.IsDir() {
			return directory
		}
		parent := filepath.Dir(directory)
		if parent == directory {
			return ""
		}
		directory = parent
	}
}

// environment is that of the go command. The tool is for this system, also in a test that
// is built for another one, and is not part of the test's coverage.
func (t *tool) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"GOOS", "GOARCH", "GOCOVERDIR"}, name)
	})
	if t.modfile != "" {
		env = append(env, "GOWORK=off") // go refuses -modfile in a workspace
	}
	return env
}

// vendored reports whether the module or the workspace has a vendor directory.
func (t *tool) vendored() bool {
	root := t.root
	if t.work != "" {
		root = filepath.Dir(t.work)
	}
	_, err := os.Stat(filepath.Join(root, "vendor", "modules.txt"))
	return err == nil
}

// args are the arguments of go. They may need a file in dir.
func (t *tool) args(dir string) ([]string, error) {
	args := []string{"tool", "-n"}
	if t.modfile == "" {
		return append(args, toolName), nil
	}
	args = append(args, "-modfile="+t.modfile)
	if t.vendored() {
		// The vendor directory is that of go.mod, and go tool has no flag -mod.
		hidden := map[string]map[string]string{"Replace": {filepath.Join(t.root, "vendor"): ""}}
		data, err := json.Marshal(hidden)
		if err != nil {
			return nil, err
		}
		overlay := filepath.Join(dir, "overlay.json") // under the lock of the build
		if err := os.WriteFile(overlay, data, 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-overlay="+overlay)
	}
	return append(args, toolName), nil
}

// explain returns the error of go with the command that helps.
func (t *tool) explain(failure, stderr string) error {
	get, sums, download := "go get -tool "+toolPackage, "go mod tidy", "go mod download"
	vendor, file := "go mod vendor", filepath.Join(t.root, "go.mod")
	if t.modfile != "" {
		file = t.modfile
		if !filepath.IsAbs(file) {
			file = filepath.Join(t.root, file)
		}
		get = "GOWORK=off go get -tool -modfile=" + t.modfile + " " + toolPackage
		// go mod tidy would add all that the module needs, and go get without a version
		// is an upgrade.
		sums = get + versionIn(file)
		download = "GOWORK=off go mod download -modfile=" + t.modfile
	}
	if t.work != "" {
		vendor = "go work vendor"
	}
	cure := ""
	has := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(stderr, text) })
	}
	switch {
	case has("no such tool"):
		return fmt.Errorf("%s has no tool %s: run\n\n\t%s", file, toolName, get)
	case t.modfile != "" && has("no such file", "cannot find the file") && missing(file):
		return fmt.Errorf("Config.Modfile: there is no %s: run in %s\n\n\tgo mod init -modfile=%s tools\n\t%s", file, t.root, t.modfile, get)
	case has("inconsistent vendoring", "-mod=vendor", "import lookup disabled"):
		cure = "run\n\n\t" + vendor + "\n\n"
	case has("missing go.sum entry", "updates to go.mod needed", "go: updates to go.sum needed"):
		cure = "run\n\n\t" + sums + "\n\n"
	case has("GOPROXY=off", "GOPROXY list is not the empty string"):
		cure = "download the modules first, with the network:\n\n\t" + download + "\n\n"
	case has("is ambiguous"):
		cure = "name the program in " + programVariable + "\n\n"
	case has("GOTOOLCHAIN=local", "requires go >="):
		cure = "use this version of Go or a later one, or name a program in " + programVariable + "\n\n"
	}
	return fmt.Errorf("go tool -n %s in %s: %s: %s%s", toolName, t.root, failure, cure, strings.TrimSpace(stderr))
}

// versionIn returns "@" and the version of the tool that a go.mod requires, or "".
func versionIn(file string) string {
	data, _ := os.ReadFile(file) // go has said more about it
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) > 1 && strings.HasPrefix(words[1], "v") && strings.HasPrefix(toolPackage, words[0]+"/") {
			return "@" + words[1]
		}
	}
	return ""
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, os.ErrNotExist)
}
