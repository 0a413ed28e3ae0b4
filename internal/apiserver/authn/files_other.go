// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package authn

import "io/fs"

// readableByOthers reports false: access lists are not checked.
func readableByOthers(fs.FileMode) bool { return false }
