package controlplanetest_test

import (
	"context"
	"io"
	"log"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// silent is for servers whose clients hang up.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }

// eventuallyIn asks until done is true, for half a minute.
func eventuallyIn(ctx context.Context, done func() bool) error {
	return wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) { return done(), nil })
}
