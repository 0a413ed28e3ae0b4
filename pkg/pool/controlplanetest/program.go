// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kubembed/kubembed/pkg/pool/internal/place"
)

const (
	programVariable = "KUBEMBED_CONTROLPLANES"
	toolName        = "controlplanes"
	toolPackage     = "github.com/kubembed/kubembed/pkg/controlplanetest/controlplanes"
)

// errGone says that the program has ended.
var errGone = errors.New("the program controlplanes has ended")

// program is the executable.
type program string

// found has the executables of the process by their Modfile.
var found sync.Map

// program returns the executable, which may have to be built.
func (c Config) program(ctx context.Context) (program, error) {
	path, from := c.Program, "Config.Program"
	if path == "" {
		path, from = os.Getenv(programVariable), programVariable
	}
	if path != "" {
		if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("%s: %q is no program (%v): build it with go build -o %s %s", from, path, err, path, toolPackage)
		}
		return program(path), nil
	}
	if known, ok := found.Load(c.Modfile); ok {
		return known.(program), nil
	}
	unlock, err := lock(ctx, "build")
	if err != nil {
		return "", err
	}
	defer unlock()
	built, err := c.build(ctx)
	if err == nil {
		found.Store(c.Modfile, built)
	}
	return built, err
}

// build builds the tool, or finds it in go's cache.
func (c Config) build(ctx context.Context) (program, error) {
	args := []string{"tool", "-n"}
	command := "go get -tool " + toolPackage
	if c.Modfile != "" {
		args = append(args, "-modfile="+c.Modfile)
		command = "go get -tool -modfile=" + c.Modfile + " " + toolPackage
	}
	cmd := exec.CommandContext(ctx, "go", append(args, toolName)...)
	if c.Modfile != "" {
		cmd.Env = append(os.Environ(), "GOWORK=off") // go refuses -modfile in a workspace
	}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	defer progress("building the program controlplanes: the first time it compiles Kubernetes, for minutes")()
	err := cmd.Run()
	path := strings.TrimSpace(stdout.String())
	switch {
	case err != nil && strings.Contains(stderr.String(), "no such tool"):
		return "", fmt.Errorf("the module has no tool %s: run\n\n\t%s\n", toolName, command)
	case err != nil:
		return "", fmt.Errorf("go tool -n %s: %w\n%s", toolName, err, stderr.String())
	}
	return program(path), nil
}

// progress writes to standard error that something takes long, until the result is
// called: go test -v shows it at once.
func progress(what string) (done func()) {
	began, ended := time.Now(), make(chan struct{})
	go func() {
		for wait := 2 * time.Second; ; wait = 15 * time.Second {
			select {
			case <-ended:
				return
			case <-time.After(wait):
				fmt.Fprintf(os.Stderr, "controlplanetest: %s (%s so far)\n", what, time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() { close(ended) }
}

// connect returns the socket and the log of the program, which is started if none runs.
func (p program) connect(ctx context.Context, idle time.Duration) (socket, log string, err error) {
	dir, err := place.Of(string(p))
	if err != nil {
		return "", "", err
	}
	socket, log = filepath.Join(dir, place.Socket), filepath.Join(dir, place.Log)
	if answers(ctx, socket) {
		return socket, log, nil
	}
	unlock, err := lock(ctx, "start")
	if err != nil {
		return "", "", err
	}
	defer unlock()
	if answers(ctx, socket) { // another test has started it
		return socket, log, nil
	}
	return socket, log, p.start(ctx, idle, socket, log)
}

func answers(ctx context.Context, socket string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// start starts the program. It outlives the test.
func (p program) start(ctx context.Context, idle time.Duration, socket, log string) error {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	args := []string{"serve"}
	if idle > 0 {
		args = append(args, "--idle="+idle.String())
	}
	cmd := exec.Command(string(p), args...)
	// go test waits for all processes that have its output.
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.SysProcAttr = file, file, filepath.Dir(log), detached()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if answers(ctx, socket) {
				return nil // another one serves
			}
			output, _ := os.ReadFile(log) // the error is shown without it
			return fmt.Errorf("the program %s has ended at its start: %v\n%s", p, err, output)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
			if answers(ctx, socket) {
				return nil
			}
		}
	}
}

// lock is held by one process of the user until unlock.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	dir, err := place.Dir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer progress("waiting for another test that holds " + path)()
	for {
		locked, err := tryLock(file)
		if locked {
			return func() { _ = file.Close() }, nil
		}
		if err == nil {
			select {
			case <-time.After(20 * time.Millisecond):
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
}
