// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux && !darwin

package connlimit

import "math"

func systemLimit() int { return math.MaxInt32 }
