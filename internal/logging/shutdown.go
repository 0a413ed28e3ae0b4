// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import "regexp"

// shutdownErrors matches the messages of interrupted requests and informers.
var shutdownErrors = regexp.MustCompile(`context canceled|the control plane is stopped|Handler timeout|[Pp]ost-timeout activity|` +
	`Timeout or abort while handling|[Uu]nable to sync caches|[Tt]imed out waiting for (?:the )?caches|` +
	`connection refused|use of closed network connection|etcd: (?:member|client) is closed|client connection is closing`)

// IsShutdownError reports whether a line looks like one of a stopping control plane. klog
// does not name the control plane.
func IsShutdownError(message, cause string) bool {
	return shutdownErrors.MatchString(message) || shutdownErrors.MatchString(cause)
}
