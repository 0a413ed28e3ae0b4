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
	"github.com/kubembed/kubembed/internal/pool/place"
	"github.com/kubembed/kubembed/internal/pool/server"
)

const usage = `controlplanes gives control planes to tests of this user.

  controlplanes status   lists the control planes, with their tests
  controlplanes stop     ends the program
  controlplanes serve    is what tests start
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
		err = status(ctx, stdout)
	case "stop":
		err = stop(ctx, stdout)
	case "help", "-h", "--help":
		_, err = io.WriteString(stdout, usage)
	default:
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 2
	case err != nil:
		fmt.Fprintln(stderr, "controlplanes:", err)
		return 1
	}
	return 0
}

// serve serves at the place of this executable, unless another process does.
func serve(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	idle := flags.Duration("idle", 30*time.Second, "end after this time without tests")
	if err := flags.Parse(args); err != nil {
		return flag.ErrHelp
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := place.Of(executable)
	if err != nil {
		return err
	}
	lock, err := dirlock.Take(dir)
	if errors.Is(err, dirlock.ErrLocked) {
		return nil // another process serves
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	socket := filepath.Join(dir, place.Socket)
	_ = os.Remove(socket) // of a process that was killed
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	// Two thirds of the heap of a control plane is garbage with Go's default.
	debug.SetGCPercent(50)
	logger, err := zap.NewDevelopment()
	if err != nil {
		return err
	}
	return server.Serve(ctx, server.Config{Listener: listener, Idle: *idle, Version: moduleVersion(), Kubernetes: kubernetes(), Logger: logger})
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
