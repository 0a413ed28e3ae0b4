package controlplane

import "syscall"

// Winsock's own numbers, which package syscall does not name.
const (
	errAddressInUse    = syscall.Errno(10048) // WSAEADDRINUSE
	errAddressNotLocal = syscall.Errno(10049) // WSAEADDRNOTAVAIL
)
