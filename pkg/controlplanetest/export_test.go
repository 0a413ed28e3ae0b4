// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

// CloseServer stops the control plane, which tests of users cannot do.
func CloseServer(cp *ControlPlane) error { return cp.server.Close() }
