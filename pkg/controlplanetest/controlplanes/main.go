// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Controlplanes serves control planes to tests with
// github.com/kubembed/kubembed/pkg/pool/controlplanetest. They start it when they need
// it. It ends when no test has needed it for half a minute.
//
//	go get -tool github.com/kubembed/kubembed/pkg/controlplanetest/controlplanes
//	go tool controlplanes status
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/kubembed/kubembed/internal/pool/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process without cleaning up
	os.Exit(program.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
