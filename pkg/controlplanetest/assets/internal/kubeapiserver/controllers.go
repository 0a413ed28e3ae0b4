// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/controllers"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// runControllers runs the core controllers until ctx ends. It is an error if one of them
// ends before.
func runControllers(ctx context.Context, server *apiserver.Server, c apiserver.Config) error {
	internals := access.Of(server)
	core := controllers.Config{
		Informers:         internals.Informers(),
		Serves:            internals.Serves,
		WatchAPIs:         internals.WatchAPIs,
		AggregatedAPIs:    internals.AggregatedAPIs,
		APIsDiscovered:    internals.APIsDiscovered,
		Acknowledged:      internals.Acknowledged,
		RootCA:            c.PKI.CABundle(),
		ServiceAccountKey: c.PKI.ServiceAccountKey(),
		Logger:            c.Logger.Named("controllers"),
	}
	config, err := server.ClientConfigAs(user.KubeControllerManager, user.SystemPrivilegedGroup)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range []*controllers.Controllers{controllers.ServiceAccounts(core), controllers.Core(core)} {
		group.Go(func() error {
			err := part.Run(ctx, config, func() {})
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				return fmt.Errorf("%s: %w", part.Name(), err)
			}
			return nil
		})
	}
	return group.Wait()
}
