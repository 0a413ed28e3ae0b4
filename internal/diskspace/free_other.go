// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !windows && (!unix || solaris || illumos || aix)

package diskspace

// usageOf is not implemented for this system.
func usageOf(string) (usage, bool) { return usage{}, false }
