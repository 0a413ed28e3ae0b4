// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Etcd is etcd's server with its flags. See package assets.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/kubembed/kubembed/pkg/controlplanetest/assets/internal/etcd"
	"github.com/kubembed/kubembed/pkg/controlplanetest/assets/internal/parent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(etcd.Main(parent.Context(ctx), os.Args[1:], os.Stdout, os.Stderr))
}
