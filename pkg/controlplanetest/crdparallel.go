package controlplanetest

import (
	"golang.org/x/sync/errgroup"
)

// inFlight is how many requests are made at once. Most of an installation is
// waiting for controllers that take one definition after the other.
const inFlight = 32

func inParallel(n int, f func(i int)) {
	var group errgroup.Group
	group.SetLimit(inFlight)
	for i := range n {
		group.Go(func() error {
			f(i)
			return nil
		})
	}
	_ = group.Wait()
}
