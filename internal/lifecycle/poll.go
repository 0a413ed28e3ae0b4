package lifecycle

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Poll calls done until it reports true, at least once, with pauses that grow
// from one millisecond to twenty. It returns the cause of ctx when that ends
// first. It is for what upstream tells only when asked, and what a start or a
// stop waits for: asking often costs less than a start that is felt.
func Poll(ctx context.Context, done func() bool) error {
	pauses := wait.Backoff{Duration: time.Millisecond, Factor: 2, Steps: 6, Cap: 20 * time.Millisecond}
	err := pauses.DelayFunc().Until(ctx, true, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		return context.Cause(ctx)
	}
	return nil
}
