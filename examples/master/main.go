// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Master is a Kubernetes master in one process: API server and etcd, and optionally the
// scheduler, the controllers and simulated nodes. Kubelets join it with a file that it
// writes, and kubectl and curl connect to it. README.md beside this file goes from here
// to pods on two workers, step by step.
//
//	go run ./examples/master --demo
//	go run ./examples/master --bind-address=192.0.2.1 --data-dir=data --scheduler
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

const (
	// shutdownTimeout bounds the wait for requests in flight.
	shutdownTimeout = 10 * time.Second
	// gcPercent is how much the heap grows between garbage collections, in percent of
	// the live objects. With Go's 100 they take a fifth of the CPU of a request.
	gcPercent = 400
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	// After the end of a pipe, as in "master | head", the next write fails and stops the
	// control plane. The signal would end the process and leave its data behind.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "master:", err)
		os.Exit(exitCode(err))
	}
}

// exitCode returns 2 for errors of the command line and the configuration file, as is
// usual for programs, and 1 for all other errors.
func exitCode(err error) int {
	if usage := (usageError{}); errors.As(err, &usage) {
		return 2
	}
	return 1
}

// run runs the master until ctx ends or the control plane fails.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args)
	switch {
	case err != nil:
		return err
	case opts.help:
		return opts.printHelp(stdout)
	case opts.version:
		return printVersion(stdout)
	}
	cfg, err := opts.config(stderr)
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return usageError{inFlags(err)}
	}
	if err := opts.prepare(ctx, cfg); err != nil {
		if ctx.Err() != nil {
			return nil // ended before it was ready
		}
		return inFlags(err)
	}
	began := time.Now()
	cp, err := controlplane.Start(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return inFlags(err)
	}
	err = opts.serve(ctx, cp, stdout, time.Since(began))
	stopCtx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := errors.Join(err, cp.Err(), cp.Shutdown(stopCtx)); err != nil {
		return inFlags(err)
	}
	opts.farewell(stdout)
	return nil
}

// prepare makes the checks that must not fail after the start, and restores a snapshot.
func (o options) prepare(ctx context.Context, cfg controlplane.Config) error {
	if err := checkDataDir(o.dataDir); err != nil {
		return err
	}
	if err := o.checkKubeconfigDir(); err != nil {
		return err
	}
	return o.restoreSnapshot(ctx, cfg)
}

// serve writes the kubeconfig files, prints the next steps, and waits for the end.
func (o options) serve(ctx context.Context, cp *controlplane.Server, stdout io.Writer, startTime time.Duration) error {
	err := o.writeKubeconfigs(ctx, cp)
	if err == nil {
		err = o.welcome(ctx, stdout, cp, startTime)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the signal ended the command
		}
		return err
	}
	select {
	case <-ctx.Done():
	case <-cp.Done():
	}
	return nil
}
