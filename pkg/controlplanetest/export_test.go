// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

// CloseServer stops the control plane, which tests of users cannot do.
func CloseServer(cp *ControlPlane) error { return cp.server.Close() }

// SameServer reports whether a and b are handles on one control plane.
func SameServer(a, b *ControlPlane) bool { return a.server == b.server }
