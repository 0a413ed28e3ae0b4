// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// decodedAtOnce is the estimated memory that the decoded bodies of all requests in
	// flight may take. A request takes up to five times its share until it is done: it is
	// converted, copied for admission, and encoded.
	decodedAtOnce = 192 << 20
	// decodedForOthers is the part for requests of clients that are not administrators.
	decodedForOthers = 128 << 20
	// decodedFree is the size up to which a body does not count, so that Leases and
	// status never wait for large bodies.
	decodedFree = 256 << 10
	// decodedWait bounds the wait of a body for others.
	decodedWait = 10 * time.Second
)

// bodyMemory limits the memory of large bodies that are decoded at the same time.
type bodyMemory struct {
	all, others *semaphore.Weighted
}

func newBodyMemory() *bodyMemory {
	return &bodyMemory{semaphore.NewWeighted(decodedAtOnce), semaphore.NewWeighted(decodedForOthers)}
}

// releases are functions that release acquired memory.
type releases []func()

func (r releases) release() {
	for _, f := range r {
		f()
	}
}

// acquire waits for memory, and adds to held the functions that release it.
func (m *bodyMemory) acquire(ctx context.Context, who requester, bytes int64, held *releases) error {
	if bytes <= decodedFree {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, decodedWait)
	defer cancel()
	take := func(s *semaphore.Weighted) error {
		if s.Acquire(ctx, bytes) != nil {
			return errBusy()
		}
		*held = append(*held, func() { s.Release(bytes) })
		return nil
	}
	if who.privileged {
		bytes = min(bytes, decodedAtOnce)
		return take(m.all)
	}
	bytes = min(bytes, decodedForOthers)
	if err := take(m.others); err != nil {
		return err
	}
	return take(m.all)
}

func errBusy() error {
	return apierrors.NewTooManyRequests("too many requests with large bodies are being worked on, please try again later", 1)
}
