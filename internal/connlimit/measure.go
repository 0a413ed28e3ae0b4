package connlimit

import (
	"fmt"
	"net"
	"syscall"
	"time"
)

// system knows the descriptors of a process.
type system interface {
	// limit is how many it may have open.
	limit() int
	// open is how many it has open, if that can be known.
	open() (int, bool)
}

type processLimits struct{}

func (processLimits) limit() int        { return descriptorLimit() }
func (processLimits) open() (int, bool) { return openDescriptors() }

// assumedOthers is how many descriptors the process is taken to have open otherwise,
// where that cannot be known.
const assumedOthers = 64

// How long a measurement is good for: the host may raise the limit, or open files.
const (
	measureSeldom  = 10 * time.Second // while the budget is not half used
	measureOften   = time.Second
	measureNow     = 50 * time.Millisecond // when the reserve is being used
	descriptorless = -1
)

// measureIfDue measures again where the last time was too long ago. accepted is the
// connection that has just been made, or nil. The caller holds mu.
func (b *Budget) measureIfDue(accepted net.Conn) {
	age := time.Since(b.measured)
	switch {
	case b.measured.IsZero(),
		age >= measureSeldom,
		age >= measureOften && 2*b.total() >= b.size.capacity,
		// A new descriptor has the lowest number that is free.
		age >= measureNow && descriptor(accepted) >= b.size.limit-(b.size.limit-b.size.others-b.size.capacity)/2:
		b.measure(false)
	}
}

// measure computes the capacity. full says that no descriptor could be opened. The
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

// descriptor is the number of a connection's, or less than any where it has none.
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

// minDescriptors is how many descriptors a control plane wants for itself: it has 18 open
// before the first client comes, and opens files of its log and for snapshots.
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
	return fmt.Errorf("the limit of open files (RLIMIT_NOFILE) is %d, of which %d are in use, and a control plane needs %d more without any client: raise it to 1024 or more (ulimit -n, LimitNOFILE=)", limit, open, minDescriptors)
}
