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
	// converted, copied for admission, and encoded. It grows with the limit for bodies.
	decodedAtOnce = 192 << 20
	// decodedForOthers is the part for requests of clients that are not administrators.
	// It is the largest cost of a body (costLimit), and grows as that does.
	decodedForOthers = maxDecoded
	// decodedFree is the size up to which a body does not count, so that Leases and
	// status never wait for large bodies.
	decodedFree = 256 << 10
	// decodedWait bounds the wait of a body for others.
	decodedWait = 10 * time.Second
)

// bodyMemory limits the memory of large bodies that are decoded at the same time.
type bodyMemory struct{ all, others pool }

func newBodyMemory(maxBody int64) *bodyMemory {
	return &bodyMemory{newPool(scaled(decodedAtOnce, maxBody)), newPool(scaled(decodedForOthers, maxBody))}
}

type pool struct {
	*semaphore.Weighted
	size int64
}

func newPool(size int64) pool { return pool{semaphore.NewWeighted(size), size} }

// scaled returns a limit of the memory of decoded bodies for a limit of their size above
// the default.
func scaled(limit, maxBody int64) int64 {
	return limit * max(maxBody, DefaultMaxBody) / DefaultMaxBody
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
	take := func(p pool) error {
		if p.Acquire(ctx, bytes) != nil {
			return errBusy()
		}
		*held = append(*held, func() { p.Release(bytes) })
		return nil
	}
	if who.privileged {
		bytes = min(bytes, m.all.size)
		return take(m.all)
	}
	bytes = min(bytes, m.others.size)
	if err := take(m.others); err != nil {
		return err
	}
	return take(m.all)
}

func errBusy() error {
	return apierrors.NewTooManyRequests("too many requests with large bodies are being worked on, please try again later", 1)
}
