// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"net"
)

// Answers reports whether a program listens on a socket.
func Answers(ctx context.Context, socket string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was written
	return true
}
