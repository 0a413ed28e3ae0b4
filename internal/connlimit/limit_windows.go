// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import "syscall"

const lowestNumberFirst = false

// descriptorLimit is our own limit: Windows has none except memory.
func descriptorLimit() int { return 16384 + reserve }

// openDescriptors counts none: other files do not count against our limit.
func openDescriptors() (int, bool) { return 0, false }

// Winsock's numbers, which package syscall does not name.
const errTooMany = syscall.Errno(10024) // WSAEMFILE

// temporaryErrors are failures of accept that pass with the load.
var temporaryErrors = []error{syscall.Errno(10055)} // WSAENOBUFS
