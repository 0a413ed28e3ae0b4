// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin && !freebsd

package limits

import "os"

// mapsAhead is false: on Windows etcd maps only the size of the database.
const mapsAhead = false

func readLimits() processLimits { return processLimits{} }

func mapOnce(*os.File, int64) error { return nil }
