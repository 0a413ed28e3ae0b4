// Master is a Kubernetes master in one process: API server and etcd, and the
// scheduler and the controllers where they are asked for. Kubelets join it, all
// with the same file, and kubectl and curl talk to it. README.md beside this
// file goes from here to pods on two workers, step by step.
//
//	go run ./examples/master --bind-address=192.0.2.1 --data-dir=data --scheduler
package main

import (
	"context"
	"errors"
	"flag"
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "master:", err)
		os.Exit(1)
	}
}

// run is a master until ctx ends or its control plane fails.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	began := time.Now()
	cp, err := controlplane.Start(ctx, opts.config(stderr))
	if err != nil {
		if ctx.Err() != nil {
			return nil // ended before it was ready
		}
		return inFlags(err)
	}
	err = opts.serve(ctx, cp, stdout, time.Since(began))
	stopCtx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := errors.Join(err, cp.Err(), cp.Shutdown(stopCtx)); err != nil {
		return err
	}
	opts.farewell(stdout)
	return nil
}

// serve says what there is and waits for the end.
func (o options) serve(ctx context.Context, cp *controlplane.Server, stdout io.Writer, took time.Duration) error {
	if err := o.writeKubeconfigs(ctx, cp); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := o.welcome(stdout, cp, took); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-cp.Done():
	}
	return nil
}
