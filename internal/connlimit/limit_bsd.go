// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package connlimit

const descriptorDir = "/dev/fd"

func statDescriptors() (int, bool) { return 0, false }
