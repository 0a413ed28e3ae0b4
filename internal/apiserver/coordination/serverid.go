// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package coordination lets several API servers work on the data of one etcd: it gives
// each an ID, and refuses servers whose Kubernetes version does not fit the stored data.
package coordination

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// ServerCount returns the number of servers for upstream's configuration. Any number
// above one has the same effect: CRDs are established only after the other servers have
// seen them.
func ServerCount(shared bool) int {
	if shared {
		return 2
	}
	return 1
}

// ServerID returns an ID that no other server of the same etcd has. Upstream's ID depends
// on the host name only, and two servers may run on one machine.
func ServerID(advertise net.IP, listener net.Listener) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("apiserver: the machine's name: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return "", fieldpath.New("apiserver", "Config.Listener", "%w", err)
	}
	sum := sha256.Sum256([]byte(host + "\n" + net.JoinHostPort(advertise.String(), port)))
	return "apiserver-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])), nil
}
