// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package authn

import "io/fs"

func readableByOthers(mode fs.FileMode) bool { return mode&0o004 != 0 }
