// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	"github.com/kubembed/kubembed/internal/apiserver/informers"
)

// informers returns the server's own informers.
func (s *Server) informers() informers.Factories {
	return informers.Factories{
		Builtin:     s.sharedInformers,
		CRDs:        s.extensions.Informers,
		APIServices: s.aggregator.APIRegistrationInformers,
	}
}

// startInformers starts the server's own informers and waits until they have synced.
func (s *Server) startInformers(ctx context.Context) error {
	if err := s.informers().Start(ctx, s.ctx); err != nil {
		return err
	}
	if err := s.revocations.WaitSynced(ctx); err != nil {
		return err
	}
	s.acknowledged.Begin(s.informers().ByResource)
	return nil
}
