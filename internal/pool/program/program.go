// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package program is the program that tests lease control planes from.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/version"
	utilcompatibility "k8s.io/apiserver/pkg/util/compatibility"

	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/pool/place"
	"github.com/kubembed/kubembed/internal/pool/plane"
	"github.com/kubembed/kubembed/internal/pool/protocol"
	"github.com/kubembed/kubembed/internal/pool/server"
)

const usage = `controlplanes serves control planes to tests of this user.

  controlplanes status   lists the control planes, with their tests
  controlplanes stop     ends the program
  controlplanes serve    serves control planes: tests run this
      --idle duration    end after this time without tests (default 30s)
`

// Main runs the program with arguments and returns its exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	var err error
	switch command {
	case "serve":
		err = serve(ctx, args, stderr)
	case "status":
		if err = none(command, args); err == nil {
			err = status(ctx, stdout)
		}
	case "stop":
		if err = none(command, args); err == nil {
			err = stop(ctx, stdout)
		}
	case "help", "-h", "--help":
		_, err = io.WriteString(stdout, usage)
	default:
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 2
	case errors.Is(err, dirlock.ErrLocked):
		return place.Served
	case err != nil:
		fmt.Fprintln(stderr, "controlplanes:", err)
		return 1
	}
	return 0
}

// none returns an error if there are arguments.
func none(command string, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s has no arguments: got %q", command, args)
	}
	return nil
}

// serve serves at the place of this executable. The error is dirlock.ErrLocked if another
// process does.
func serve(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	idle := flags.Duration("idle", 30*time.Second, "end after this time without tests")
	if err := flags.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if err := none("serve", flags.Args()); err != nil {
		return err
	}
	if *idle <= 0 {
		return fmt.Errorf("--idle: must be longer than 0: got %s", *idle)
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := place.Of(executable)
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, place.Socket)
	lock, err := take(ctx, dir, socket)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	sweep(dir)
	_ = os.Remove(socket) // of a process that was killed
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	// Two thirds of the heap of a control plane is garbage with Go's default.
	debug.SetGCPercent(50)
	logger, err := newLogger()
	if err != nil {
		return err
	}
	return server.Serve(ctx, server.Config{Listener: listener, Idle: *idle, Version: moduleVersion(), Kubernetes: kubernetes(), Logger: logger, Start: start})
}

func start(ctx context.Context, options protocol.Options) (server.Plane, error) {
	p, err := plane.Start(ctx, options)
	if err != nil {
		return nil, err // and no *plane.Plane that is nil
	}
	return p, nil
}

// stopTimeout bounds the wait for a process that stops: server.Serve takes half of it.
const stopTimeout = time.Minute

// take locks the directory of the program. It waits for a process that stops. The error
// is dirlock.ErrLocked if another one serves.
func take(ctx context.Context, dir, socket string) (*dirlock.Lock, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, fmt.Errorf("%s of %s neither serves nor ends for %s: end it", owner(dir), dir, stopTimeout))
	defer cancel()
	var lock *dirlock.Lock
	var err error
	if ended := lifecycle.Poll(ctx, func() bool {
		lock, err = dirlock.Take(dir)
		return !errors.Is(err, dirlock.ErrLocked) || place.Answers(ctx, socket)
	}); ended != nil {
		return nil, ended
	}
	return lock, err
}

// newLogger returns the logger of the program, which writes a line for each event.
func newLogger() (*zap.Logger, error) {
	config := zap.NewDevelopmentConfig()
	config.Level = zap.NewAtomicLevelAt(zap.InfoLevel)
	config.DisableCaller, config.DisableStacktrace = true, true
	return config.Build()
}

// moduleVersion returns the version of this module in the program.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	const module = "github.com/kubembed/kubembed"
	for _, dep := range append(info.Deps, &info.Main) {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}

func kubernetes() string {
	return version.MustParse(utilcompatibility.DefaultBuildEffectiveVersion().BinaryVersion().String()).String()
}
