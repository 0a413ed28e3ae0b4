// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"fmt"
	"os"
)

// addressSpaceUsed returns the size that counts against RLIMIT_AS.
func addressSpaceUsed() (int64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	var pages int64
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		return 0, false
	}
	return pages * int64(os.Getpagesize()), true
}
