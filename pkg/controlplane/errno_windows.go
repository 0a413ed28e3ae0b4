// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import "syscall"

// Numbers of Windows and Winsock, which package syscall does not name.
const (
	errAddressInUse    = syscall.Errno(10048) // WSAEADDRINUSE
	errAddressNotLocal = syscall.Errno(10049) // WSAEADDRNOTAVAIL
	errDiskFull        = syscall.Errno(112)   // ERROR_DISK_FULL
	errDiskQuota       = syscall.Errno(1295)  // ERROR_DISK_QUOTA_EXCEEDED
)
