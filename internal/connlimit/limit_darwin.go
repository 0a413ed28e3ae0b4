package connlimit

import (
	"math"

	"golang.org/x/sys/unix"
)

// systemLimit is what the kernel allows a process, whatever its limit says, which may
// be infinity.
func systemLimit() int {
	limit, err := unix.SysctlUint32("kern.maxfilesperproc")
	if err != nil || limit > math.MaxInt32 {
		return 10240 // OPEN_MAX
	}
	return int(limit)
}
