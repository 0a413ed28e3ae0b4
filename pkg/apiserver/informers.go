package apiserver

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/tools/cache"
)

// startInformers starts the shared informers and waits until they are synced.
// Upstream starts them in its hooks, beside the controllers that wait for
// them by looking every 100 ms, one after the other.
func (s *Server) startInformers(ctx context.Context) error {
	stop := s.ctx.Done()
	s.generic.informers.Start(stop)
	s.extensions.Informers.Start(stop)
	s.aggregator.APIRegistrationInformers.Start(stop)

	var synced []cache.InformerSynced
	synced = append(synced,
		s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer().HasSynced,
		s.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices().Informer().HasSynced,
	)
	for pause := readyPollMin; ; pause = min(2*pause, readyPollMax) {
		if allSynced(synced) && s.sharedInformersSynced() {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("apiserver: informers did not sync: %w", context.Cause(ctx))
		}
	}
}

func allSynced(synced []cache.InformerSynced) bool {
	for _, has := range synced {
		if !has() {
			return false
		}
	}
	return true
}

// sharedInformersSynced asks without waiting: a closed channel makes upstream
// look once.
func (s *Server) sharedInformersSynced() bool {
	now := make(chan struct{})
	close(now)
	for _, synced := range s.generic.informers.WaitForCacheSync(now) {
		if !synced {
			return false
		}
	}
	return true
}
