// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// Each request has new goroutines. Their stacks begin small and grow by copies, which
// cost more the deeper the stack is: a tenth of the CPU time of a create. Here they grow
// once, while there is little to copy, to the size that nearly all requests need. The
// garbage collector shrinks the stacks of long-running requests.

// GrownStacks authenticates with a stack of 32 KiB. The authenticator is the first code
// of this module in the goroutine that upstream's timeout filter starts.
type GrownStacks struct{ authenticator.Request }

// AuthenticateRequest implements authenticator.Request.
func (g GrownStacks) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	growStack32()
	return g.Request.AuthenticateRequest(r)
}

// GrowStack16 grows the stack of its caller to 16 KiB: its frame does not fit in a
// smaller one.
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

// keep prevents the compiler from removing a frame.
//
//go:noinline
func keep([]byte) {}
