package limits

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// decodedAtOnce is the memory that the decoded bodies of all requests in flight
	// may take together, as estimated. Until a request is done it takes up to five
	// times its share: it is converted, copied for admission, and encoded.
	decodedAtOnce = 192 << 20
	// decodedForOthers is the part of it for requests that no administrator makes.
	decodedForOthers = 128 << 20
	// A body that takes no more than this does not count. Leases and status never
	// wait for large bodies.
	decodedFree = 256 << 10
	// decodedWait is how long a body waits for others to be done.
	decodedWait = 10 * time.Second
)

// bodyMemory keeps requests with large bodies from being decoded all at once.
type bodyMemory struct {
	all, others *semaphore.Weighted
}

func newBodyMemory() *bodyMemory {
	return &bodyMemory{semaphore.NewWeighted(decodedAtOnce), semaphore.NewWeighted(decodedForOthers)}
}

// releases give back acquired memory.
type releases []func()

func (r releases) release() {
	for _, f := range r {
		f()
	}
}

// acquire waits for room, and adds to held how to give it back.
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
