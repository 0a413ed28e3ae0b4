// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Kube-apiserver is the API server of package apiserver with the flags of kube-apiserver.
// See package assets.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/kubembed/kubembed/pkg/controlplanetest/assets/internal/kubeapiserver"
	"github.com/kubembed/kubembed/pkg/controlplanetest/assets/internal/parent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process without cleaning up
	os.Exit(kubeapiserver.Main(parent.Context(ctx), os.Args[1:], os.Stdout, os.Stderr))
}
