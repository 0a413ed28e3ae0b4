package connlimit

import "syscall"

const lowestNumberFirst = false

// descriptorLimit is our own: Windows has none that a process can reach, but memory.
func descriptorLimit() int { return 16384 + reserve }

// openDescriptors counts none: files of others do not count against our limit.
func openDescriptors() (int, bool) { return 0, false }

// Winsock's own numbers, which package syscall does not name.
const errTooMany = syscall.Errno(10024) // WSAEMFILE

// temporaryErrors are failures of accept that are over when there is less to do.
var temporaryErrors = []error{syscall.Errno(10055)} // WSAENOBUFS
