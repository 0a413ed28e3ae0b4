// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

// MaxRunning is the number of calls of an authenticator of the host at a time.
const MaxRunning = maxRunning
