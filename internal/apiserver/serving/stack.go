package serving

import (
	"net/http"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// Each request has new goroutines, whose stacks begin small and grow by being
// copied, the deeper the dearer: a tenth of the CPU of a create. So they grow at
// once, before there is anything to copy, to what nearly all requests need. The
// garbage collector shrinks those of requests that last.

// GrownStacks authenticates with a stack of 32 KiB: it is the first code of ours
// in the goroutine that upstream's timeout filter starts.
type GrownStacks struct{ authenticator.Request }

func (g GrownStacks) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	growStack32()
	return g.Request.AuthenticateRequest(r)
}

// GrowStack16 makes the stack of its caller 16 KiB: its frame does not fit
// into less.
//
//go:noinline
func GrowStack16() {
	var frame [8<<10 + 1]byte
	keep(frame[:])
}

//go:noinline
func growStack32() {
	var frame [16<<10 + 1]byte
	keep(frame[:])
}

// keep keeps a frame from being optimized away.
//
//go:noinline
func keep([]byte) {}
