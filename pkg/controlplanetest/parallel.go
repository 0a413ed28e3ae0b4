// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"fmt"

	"k8s.io/client-go/util/workqueue"
)

// inFlight is the number of concurrent requests. An installation mostly waits for
// controllers that process one CRD after another.
const inFlight = 32

func inParallel(n int, f func(i int)) {
	workqueue.ParallelizeUntil(context.Background(), inFlight, n, f)
}

// each calls do for all CRDs in parallel. An error names its CRD.
func each(crds []customResource, do func(i int) error) []error {
	errs := make([]error, len(crds))
	inParallel(len(crds), func(i int) {
		if err := do(i); err != nil {
			errs[i] = fmt.Errorf("%s: %w", crds[i].from, err)
		}
	})
	return errs
}
