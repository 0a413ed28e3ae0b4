package controlplane

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"
)

// renewInterval is how often certificates are looked at. They are renewed when
// a third of their life is left, which is months.
const renewInterval = 12 * time.Hour

// renewRetry is when that is tried again that has failed.
const renewRetry = time.Hour

// clockInterval is how often the wall clock is read. While a machine sleeps the
// timers of Go stand still: it may wake with certificates that have expired.
const clockInterval = time.Minute

// clock is the machine's, but for tests.
func (s *Server) clock() clock.WithTicker {
	if s.config.clock != nil {
		return s.config.clock
	}
	return clock.RealClock{}
}

// renewal is what supervise knows of the certificates.
type renewal struct {
	next   time.Time // by the wall clock
	reload bool      // what has been renewed is not all in use
}

// renewWhenDue looks at the certificates if it is time to.
func (s *Server) renewWhenDue(r *renewal) {
	now := s.clock().Now().Round(0) // without the monotonic reading, by which Sub would go
	switch {
	case r.next.IsZero(): // the start has looked
		r.next = now.Add(renewInterval)
		return
	case now.Before(r.next) && r.next.Sub(now) <= renewInterval:
		return // or else the clock was set back
	}
	r.next = now.Add(renewInterval)
	if err := s.renew(r); err != nil {
		r.next = now.Add(renewRetry)
		s.config.Logger.Error("certificates are not renewed; they will be tried again", zap.Duration("in", renewRetry), zap.Error(err))
	}
}

func (s *Server) renew(r *renewal) error {
	// A certificate of a CA that is not valid yet is of no use, and says nothing.
	if begin, now := s.pki.CA().Cert.NotBefore, s.clock().Now(); now.Before(begin) {
		return fmt.Errorf("the CA begins at %s, but the clock says %s, so that clients refuse its certificates: set the clock; if it is right now, and was wrong when the CA was made, stop and replace the CA (package pki)",
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
