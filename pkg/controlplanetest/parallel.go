package controlplanetest

import (
	"fmt"

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

// each does it for all definitions in parallel. An error says of which it is.
func each(crds []customResource, do func(i int) error) []error {
	errs := make([]error, len(crds))
	inParallel(len(crds), func(i int) {
		if err := do(i); err != nil {
			errs[i] = fmt.Errorf("%s: %w", crds[i].from, err)
		}
	})
	return errs
}
