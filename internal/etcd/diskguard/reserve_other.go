// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package diskguard

import (
	"errors"
	"os"
)

const canReserve = false

func allocated(info os.FileInfo) int64 { return info.Size() }

// allocate allocates disk space on systems with a call for it.
func allocate(string, int64) error { return errors.ErrUnsupported }
