// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"runtime/debug"
	"testing"
	"unsafe"
)

// TestGrownStacks: a goroutine whose stack was grown calls deep functions without
// its stack being copied.
func TestGrownStacks(t *testing.T) {
	// The collector shrinks stacks, and chooses their size at the beginning.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for name, c := range map[string]struct{ grow, use func() }{
		"16 KiB": {GrowStack16, func() { use[[7 << 10]byte]() }},
		"32 KiB": {growStack32, func() { use[[15 << 10]byte]() }},
	} {
		moved := make(chan bool)
		go func() {
			var local byte
			c.grow()
			before := uintptr(unsafe.Pointer(&local))
			c.use()
			moved <- uintptr(unsafe.Pointer(&local)) != before
		}()
		if <-moved {
			t.Errorf("%s: the stack had to grow again", name)
		}
	}
}

//go:noinline
func use[Frame any]() {
	var frame Frame
	keep(unsafe.Slice((*byte)(unsafe.Pointer(&frame)), unsafe.Sizeof(frame)))
}
