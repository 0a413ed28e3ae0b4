// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/healthz"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Faults of the storage turn /readyz red. They are also logged, once when they start and
// once when they end, for operators who do not poll /readyz.

// healthInterval is the time between two checks of the storage, and healthTimeout bounds
// each. They are variables for tests.
var (
	healthInterval = 5 * time.Second
	healthTimeout  = 10 * time.Second
)

// health checks the storage until it is stopped.
type health struct {
	logger *zap.Logger
	checks []namedCheck
	faults map[string]time.Time // start of each fault, by the name of the check
	cancel context.CancelFunc

	interval, timeout time.Duration
}

// namedCheck is a healthz.HealthChecker. That type belongs to upstream's server, which
// the compiler would then load for each importer of this package.
type namedCheck struct {
	name  string
	check func(*http.Request) error
}

// startHealth starts the checks.
func (s *Server) startHealth() {
	ctx, cancel := context.WithCancel(context.Background())
	h := &health{
		logger: s.config.Logger, cancel: cancel, faults: map[string]time.Time{},
		interval: healthInterval, timeout: healthTimeout,
	}
	for _, check := range []healthz.HealthChecker{s.answerCheck(), s.spaceCheck(), s.dataCheck()} {
		h.checks = append(h.checks, namedCheck{check.Name(), check.Check})
	}
	s.health = h
	go h.run(ctx)
}

// stop does not wait for the goroutine, which a disk that hangs may block. The stop of
// the control plane waits for it at the end. It may be called on nil.
func (h *health) stop() {
	if h != nil {
		h.cancel()
	}
}

func (h *health) run(ctx context.Context) {
	_ = wait.PollUntilContextCancel(ctx, h.interval, false, func(ctx context.Context) (done bool, err error) {
		for _, check := range h.checks {
			h.look(ctx, check)
		}
		return false, nil
	})
}

// look runs a check and logs a change.
func (h *health) look(ctx context.Context, c namedCheck) {
	limited, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, http.MethodGet, "/readyz/"+c.name, http.NoBody)
	if err != nil {
		return
	}
	err = c.check(request)
	if ctx.Err() != nil {
		return
	}
	since, known := h.faults[c.name]
	switch {
	case err != nil && !known:
		h.faults[c.name] = time.Now()
		h.logger.Warn("the control plane is not ready", zap.String("check", c.name), zap.Error(err))
	case err == nil && known:
		delete(h.faults, c.name)
		h.logger.Info("the control plane is ready again", zap.String("check", c.name), zap.Duration("after", time.Since(since)))
	}
}

// answerCheck returns a check that reads a key from etcd. The key need not exist. A read
// in a process whose disk hangs may wait for a lock of the database, whatever its
// context: the check does not wait for it any longer, and starts no second one beside it.
func (s *Server) answerCheck() healthz.HealthChecker {
	key := s.keyspace().Health()
	timeout := healthTimeout
	var reads singleflight.Group
	return healthz.NamedCheck("etcd", func(r *http.Request) error {
		ctx := r.Context()
		read := reads.DoChan(key, func() (any, error) {
			return s.etcd.Client().Get(ctx, key, clientv3.WithCountOnly())
		})
		var err error
		select {
		case result := <-read:
			err = result.Err
		case <-ctx.Done():
			err = ctx.Err()
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded) && s.member != nil && s.config.Etcd.Name == "":
			return fieldpath.Errorf("etcd has not responded for %s: is the disk of %s (%s) hung, or the machine overloaded? %w", timeout, fieldpath.Name("Config.DataDir"), s.dir, err)
		case s.member != nil:
			return fmt.Errorf("etcd does not respond: do more than half of the members run, and reach each other? %w", err)
		default:
			return fieldpath.Errorf("etcd does not respond at %s: %w", fieldpath.Name("Config.Etcd.Endpoints"), err)
		}
	})
}
