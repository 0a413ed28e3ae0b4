// Master is a Kubernetes master in one process: API server and etcd, and the
// scheduler, the controllers and simulated nodes if a flag asks for them. Kubelets
// join it, all with the same file, and kubectl and curl talk to it. README.md beside
// this file goes from here to pods on two workers, step by step.
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
	"syscall"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// shutdownTimeout is how long requests in flight may take to end.
const shutdownTimeout = 10 * time.Second

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	// A closed pipe, as after "master | head", is an error of the next write, which
	// stops the control plane; the signal would end the process and leave its data.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "master:", err)
		os.Exit(exitCode(err))
	}
}

// exitCode is 2 if the command line or the configuration file is wrong, as usual
// for programs, and 1 for all other errors.
func exitCode(err error) int {
	if usage := (usageError{}); errors.As(err, &usage) {
		return 2
	}
	return 1
}

// run is a master until ctx ends or its control plane fails.
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

// prepare does what must not fail after the start.
func (o options) prepare(ctx context.Context, cfg controlplane.Config) error {
	if err := checkDataDir(o.dataDir); err != nil {
		return err
	}
	if err := o.checkKubeconfigDir(); err != nil {
		return err
	}
	return o.restoreSnapshot(ctx, cfg)
}

// serve prints what there is and waits for the end.
func (o options) serve(ctx context.Context, cp *controlplane.Server, stdout io.Writer, took time.Duration) error {
	err := o.writeKubeconfigs(ctx, cp)
	if err == nil {
		err = o.welcome(ctx, stdout, cp, took)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	select {
	case <-ctx.Done():
	case <-cp.Done():
	}
	return nil
}
