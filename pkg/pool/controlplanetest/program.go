// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

const (
	programVariable = "KUBEMBED_CONTROLPLANES"
	toolName        = "controlplanes"
	toolPackage     = "github.com/kubembed/kubembed/pkg/controlplanetest/controlplanes"
)

// errGone says that the program has ended.
var errGone = errors.New("the program controlplanes has ended")

// program is an executable. A field or variable names it, or the module has it as a tool.
type program struct{ path, from string }

func (p program) String() string { return fmt.Sprintf("%s (%s)", p.path, p.from) }

// found has the tool of the process by Config.Modfile.
var found sync.Map

// program returns the executable, which may have to be built.
func (c Config) program(ctx context.Context) (program, error) {
	p := program{c.Program, "Config.Program"}
	if p.path == "" {
		p = program{os.Getenv(programVariable), programVariable}
	}
	if p.path != "" {
		return p.check()
	}
	if known, ok := found.Load(c.Modfile); ok {
		return program{known.(string), "go tool"}, nil
	}
	ctx, cancel := beforeTimeout(ctx)
	defer cancel()
	path, err := findTool(ctx, c.Modfile)
	if err == nil {
		found.Store(c.Modfile, path)
	}
	return program{path, "go tool"}, err
}

// check returns the program with an absolute path, or an error if it is no program. It
// does not read what the program is: debug/buildinfo adds some hundred kB to each test
// binary.
func (p program) check() (program, error) {
	bad := func(format string, args ...any) (program, error) {
		return p, fmt.Errorf("%s: %q %w: build it with go build -o %s %s", p.from, p.path, fmt.Errorf(format, args...), p.path, toolPackage)
	}
	path, err := filepath.Abs(p.path)
	if err != nil {
		return bad("is no path: %w", err)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return bad("is no program: %w", err)
	case info.IsDir():
		return bad("is a directory, not the program")
	case runtime.GOOS != "windows" && info.Mode()&0o111 == 0:
		return bad("is not executable")
	}
	return program{path, p.from}, nil
}
