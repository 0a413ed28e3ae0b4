// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package walcheck

import "os"

// nextData returns the offset of the next data of the file from at.
func nextData(_ *os.File, at int64) int64 { return at }
