// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package files writes files and directories so that they survive a crash of the
// process and a loss of power.
package files
