// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Programs in the temporary directory.
const (
	ownHost      = "own"
	ownCluster   = "owncluster"
	envtestHost  = "envtest"
	upstreamHost = "upstream"
	testserver   = "testserver"
	ownTests     = "own.test"
	envTests     = "envtest.test"
	ownPrograms  = "assets" // a directory
	poolProgram  = "controlplanes"
	poolTests    = "pooled.test"
	nodesHost    = "nodes"
	kwokProgram  = "kwok"
)

// program is a program to build.
type program struct {
	name, dir string // dir is the directory of the package, relative to the module
	args      []string
}

const (
	assets        = "github.com/kubembed/kubembed/pkg/controlplanetest/assets/"
	controlplanes = "github.com/kubembed/kubembed/pkg/controlplanetest/controlplanes"
)

var (
	ownBuilds = []program{
		{ownHost, ".", []string{"build", "./hosts/own"}},
		{ownTests, ".", []string{"test", "-c", "./own"}},
	}
	ownClusterBuild = program{ownCluster, ".", []string{"build", "./hosts/owncluster"}}
	poolBuilds      = []program{
		{poolProgram, ".", []string{"build", controlplanes}},
		{poolTests, ".", []string{"test", "-c", "./pooled"}},
	}
	peerBuilds = []program{
		{envtestHost, ".", []string{"build", "./hosts/envtest"}},
		{upstreamHost, ".", []string{"build", "./hosts/upstream"}},
		{envTests, ".", []string{"test", "-c", "./envtest"}},
		{ownPrograms, ".", []string{"build", assets + "kube-apiserver", assets + "etcd"}},
	}
	testserverBuild = program{testserver, "peers", []string{"build", "./testserver"}}
)

// build builds the programs. The testserver and the programs of scale depend on the
// sections: their packages are compiled again, as their modules are not in the workspace.
func (b *bench) build(sections []section) error {
	if err := b.sizes.check(); err != nil {
		return err
	}
	builds, earlierBuilds := ownBuilds, ownBuilds
	if slices.ContainsFunc(sections, func(s section) bool { return s.name == effectsSection.name }) {
		builds = append(slices.Clone(builds), ownClusterBuild)
		earlierBuilds = builds
	}
	if b.paths.Against == "" {
		if err := b.buildPeers(); err != nil {
			return err
		}
		// With several programs, go build needs an existing directory.
		if err := os.Mkdir(b.paths.program(ownPrograms), 0o700); err != nil {
			return err
		}
		builds = slices.Concat(builds, poolBuilds, peerBuilds)
		if slices.ContainsFunc(sections, func(s section) bool { return slices.Contains(s.sides, inOne) }) {
			builds = append(builds, testserverBuild)
		}
		if slices.ContainsFunc(sections, func(s section) bool { return s.name == scaleSection.name }) {
			builds = append(builds, scalePrograms...)
		}
	}
	if err := b.buildAll(b.paths, builds); err != nil {
		return err
	}
	if b.paths.Against != "" {
		earlier, _ := b.paths.earlier(earlierSide)
		if err := b.buildAll(earlier, earlierBuilds); err != nil {
			return err
		}
	}
	for _, s := range sections {
		if s.name == "crds" {
			return b.fetchCRDs()
		}
	}
	return nil
}

// buildAll builds programs from the checkout of the paths.
func (b *bench) buildAll(p paths, programs []program) error {
	for _, program := range programs {
		fmt.Fprintln(os.Stderr, "building", program.name+p.Suffix)
		// Like the peers and go tool: without data for debuggers.
		args := append([]string{program.args[0], stripped, "-o", p.program(program.name)}, program.args[1:]...)
		build := exec.Command("go", args...)
		build.Dir = filepath.Join(p.Module, program.dir)
		if program.dir != "." { // not in the workspace
			build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		}
		if err := runLoudly(build); err != nil {
			return err
		}
	}
	return nil
}

func (p paths) program(name string) string { return filepath.Join(p.Work, name+p.Suffix) }

// build returns a digest of our programs, or of our host and the other checkout's. It
// differs for another state of the source.
func (p paths) build() (string, error) {
	files := []string{p.program(ownHost)}
	if p.Against != "" {
		earlier, _ := p.earlier(earlierSide)
		files = append(files, earlier.program(ownHost))
	} else {
		files = append(files, p.program(poolProgram), p.program(poolTests))
	}
	hash := sha256.New()
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// goCommand returns a go command for a directory of this module.
func (b *bench) goCommand(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(b.paths.Module, dir)
	return cmd
}
