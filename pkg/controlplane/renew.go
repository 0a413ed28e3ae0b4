// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"
)

// renewInterval is the time between two checks of the certificates. They are renewed when
// a third of their validity is left, which is months.
const renewInterval = 12 * time.Hour

// renewRetry is the time until the next try after a failure.
const renewRetry = time.Hour

// clockInterval is the time between two readings of the wall clock. While a machine
// sleeps, Go's timers stop: it may wake with expired certificates.
const clockInterval = time.Minute

// clock returns the machine's clock, or that of a test.
func (s *Server) clock() clock.WithTicker {
	if s.config.clock != nil {
		return s.config.clock
	}
	return clock.RealClock{}
}

// renewal is the state of the renewal of certificates.
type renewal struct {
	next   time.Time // by the wall clock
	reload bool      // renewed certificates are not in use yet
}

// renewWhenDue checks the certificates if that is due.
func (s *Server) renewWhenDue(r *renewal) {
	now := s.clock().Now().Round(0) // without the monotonic reading, which Sub would use
	switch {
	case r.next.IsZero(): // the start has checked them
		r.next = now.Add(renewInterval)
		return
	case now.Before(r.next) && r.next.Sub(now) <= renewInterval:
		return // otherwise the clock was set back
	}
	r.next = now.Add(renewInterval)
	if err := s.renew(r); err != nil {
		r.next = now.Add(renewRetry)
		s.config.Logger.Error("renewal of certificates failed; it will be tried again", zap.Duration("in", renewRetry), zap.Error(err))
	}
}

func (s *Server) renew(r *renewal) error {
	// Certificates of a CA that is not valid yet are useless.
	if begin, now := s.pki.CA().Cert.NotBefore, s.clock().Now(); now.Before(begin) {
		return fmt.Errorf("the CA is valid from %s, but the clock says %s, so that clients refuse its certificates: set the clock; if it is right now, and was wrong when the CA was created, stop and replace the CA (package pki)",
			begin.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	renewed, err := s.pki.Renew()
	if err != nil {
		return err
	}
	r.reload = r.reload || renewed
	if !r.reload {
		return nil
	}
	if err := s.apiserver.ReloadIdentities(); err != nil {
		return err
	}
	r.reload = false
	s.config.Logger.Info("certificates were renewed")
	return nil
}
