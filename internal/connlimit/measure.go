// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"fmt"
	"net"
	"syscall"
	"time"
)

// system reports the descriptors of a process.
type system interface {
	// limit returns the maximum number of open descriptors.
	limit() int
	// open returns the number of open descriptors, if it is known.
	open() (int, bool)
}

type processLimits struct{}

func (processLimits) limit() int        { return descriptorLimit() }
func (processLimits) open() (int, bool) { return openDescriptors() }

// assumedOthers is the assumed number of other open descriptors if it is unknown.
const assumedOthers = 64

// Ages of a measurement: the host may raise the limit, or open files.
const (
	measureSeldom  = 10 * time.Second // while less than half of the budget is used
	measureOften   = time.Second
	measureNow     = 50 * time.Millisecond // while the reserve is in use
	descriptorless = -1
)

// measureIfDue measures again if the last measurement is too old. accepted is the
// connection just made, or nil. The caller holds mu.
func (b *Budget) measureIfDue(accepted net.Conn) {
	age := time.Since(b.measured)
	switch {
	case b.measured.IsZero(),
		age >= measureSeldom,
		age >= measureOften && 2*b.total() >= b.size.capacity,
		// A new descriptor has the lowest free number.
		age >= measureNow && descriptor(accepted) >= b.size.limit-(b.size.limit-b.size.others-b.size.capacity)/2:
		b.measure(false)
	}
}

// measure computes the capacity. full reports that no descriptor could be opened. The
// caller holds mu.
func (b *Budget) measure(full bool) {
	b.measured = time.Now()
	b.size.limit = b.system.limit()
	b.size.others = assumedOthers
	if open, ok := b.system.open(); ok {
		b.size.others = max(0, open-b.total())
	}
	if full {
		b.size.others = max(b.size.others, b.size.limit-b.total())
	}
	available := max(0, b.size.limit-b.size.others)
	b.size.capacity = max(minCapacity, available-min(reserve, available/3))
}

// descriptor returns the number of a connection's descriptor, or a negative one if it has
// none.
func descriptor(conn net.Conn) (number int) {
	number = descriptorless
	c, ok := conn.(syscall.Conn)
	if !ok || !lowestNumberFirst {
		return number
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return number
	}
	_ = raw.Control(func(fd uintptr) { number = int(fd) })
	return number
}

// minDescriptors is the number of descriptors that a control plane needs itself: it has
// 18 open before the first client connects, and opens files of its log and for snapshots.
const minDescriptors = 40

// Check reports whether the process may open as many files as a control plane needs.
func Check() error { return check(processLimits{}) }

func check(s system) error {
	limit := s.limit()
	open, ok := s.open()
	if !ok {
		open = 0
	}
	if limit-open >= minDescriptors {
		return nil
	}
	return fmt.Errorf("the limit of open files (RLIMIT_NOFILE) is %d and %d are in use, but a control plane needs %d more without any client: raise it to 1024 or more (ulimit -n, LimitNOFILE=)", limit, open, minDescriptors)
}
