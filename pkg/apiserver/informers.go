package apiserver

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// startInformers starts the shared informers and waits until they are synced.
// Upstream starts them in its hooks, beside the controllers that wait for
// them by looking every 100 ms, one after the other.
func (s *Server) startInformers(ctx context.Context) error {
	stop := s.ctx.Done()
	s.generic.informers.Start(stop)
	s.extensions.Informers.Start(stop)
	s.aggregator.APIRegistrationInformers.Start(stop)

	var waiting []string
	err := lifecycle.Poll(ctx, func() bool {
		waiting = s.unsynced()
		return len(waiting) == 0
	})
	if err != nil {
		return fmt.Errorf("apiserver: informers did not sync: %s: %w", strings.Join(waiting, ", "), err)
	}
	if err := s.generic.revokedCertificates.waitSynced(ctx); err != nil {
		return err
	}
	s.generic.acknowledged.begin(s.runningInformers)
	return s.generic.revoked.waitSynced(ctx)
}

// unsynced names the kinds whose informers have not seen all objects yet.
func (s *Server) unsynced() (kinds []string) {
	// With a closed channel upstream looks once instead of waiting.
	now := make(chan struct{})
	close(now)
	for _, factory := range []interface {
		WaitForCacheSync(<-chan struct{}) map[reflect.Type]bool
	}{s.generic.informers, s.extensions.Informers, s.aggregator.APIRegistrationInformers} {
		for kind, synced := range factory.WaitForCacheSync(now) {
			if !synced {
				kinds = append(kinds, kind.String())
			}
		}
	}
	slices.Sort(kinds)
	return kinds
}
