// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package controlplane

import "syscall"

const (
	errAddressInUse    = syscall.EADDRINUSE
	errAddressNotLocal = syscall.EADDRNOTAVAIL
	errDiskFull        = syscall.ENOSPC
	errDiskQuota       = syscall.EDQUOT
)
