// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package controlplane_test

import "testing"

// onTmpfs is not supported here.
func onTmpfs(testing.TB, string) bool { return false }
