// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

// Each request has new goroutines. Their stacks begin small and grow by copies, which
// cost more the deeper the stack is: a tenth of the CPU time of a create. Here they grow
// once, while there is little to copy, to the size that nearly all requests need. The
// garbage collector shrinks the stacks of long-running requests.

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
