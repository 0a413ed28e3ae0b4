package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// The programs that are built in the temporary folder.
const (
	ownHost     = "own"
	envtestHost = "envtest"
	testserver  = "testserver"
	ownTests    = "own.test"
	envTests    = "envtest.test"
	ownPrograms = "assets" // a folder
)

// build makes all programs. They are for the sections, but few enough.
func (b *bench) build(sections []section) error {
	if err := b.sizes.check(); err != nil {
		return err
	}
	if err := b.buildPeers(); err != nil {
		return err
	}
	// go build puts several programs into a folder that there is.
	if err := os.Mkdir(b.paths.program(ownPrograms), 0o700); err != nil {
		return err
	}
	const assets = "github.com/kubembed/kubembed/pkg/controlplanetest/assets/"
	builds := []struct {
		name, folder string
		args         []string
	}{
		{ownHost, ".", []string{"build", "./hosts/own"}},
		{envtestHost, ".", []string{"build", "./hosts/envtest"}},
		{testserver, "peers", []string{"build", "./testserver"}},
		{ownTests, ".", []string{"test", "-c", "./own"}},
		{envTests, ".", []string{"test", "-c", "./envtest"}},
		{ownPrograms, ".", []string{"build", assets + "kube-apiserver", assets + "etcd"}},
	}
	for _, p := range builds {
		fmt.Fprintln(os.Stderr, "building", p.name)
		// As the peers are: without what only debuggers read.
		args := append([]string{p.args[0], "-ldflags=-s -w", "-o", b.paths.program(p.name)}, p.args[1:]...)
		build := b.goCommand(p.folder, args...)
		if p.folder == "peers" {
			build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		}
		if err := runLoudly(build); err != nil {
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

func (p paths) program(name string) string { return filepath.Join(p.Work, name) }

// buildOf tells programs of this library from those of another state of its source.
func (p paths) buildOf(name string) (string, error) {
	file, err := os.Open(p.program(name))
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// goCommand is the go command in a folder of this module.
func (b *bench) goCommand(folder string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(b.paths.Module, folder)
	return cmd
}
