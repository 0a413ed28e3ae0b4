// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"os"
	"strings"
	"testing"
)

func TestLimitsAreCompared(t *testing.T) {
	const gib, defaultQuotaBytes = 1 << 30, 8 << 30
	for name, c := range map[string]struct {
		limits        processLimits
		quota, mapped int64
		want          []string // parts of the error; none for no error
	}{
		"no limits":         {processLimits{}, defaultQuotaBytes, 9 * gib, nil},
		"8 GB":              {processLimits{addressSpace: 8e9, addressUsed: 1e9}, defaultQuotaBytes, 9 * gib, []string{"RLIMIT_AS", "8000000000", "1000000000", "9663676416", "10932111872", "ulimit -v", "QuotaBytes"}},
		"8 GB, small quota": {processLimits{addressSpace: 8e9, addressUsed: 1e9}, gib, 2 * gib, nil},
		"20 GB":             {processLimits{addressSpace: 20e9, addressUsed: 2e9}, defaultQuotaBytes, 9 * gib, nil},
		"8 GB, not mapped":  {processLimits{addressSpace: 8e9, addressUsed: 1e9}, defaultQuotaBytes, 0, nil},
		"files of 20 MB":    {processLimits{fileSize: 20e6}, defaultQuotaBytes, 0, []string{"RLIMIT_FSIZE", "20000000", "9448928051", "ulimit -f"}},
		"files of 20 MB, and a quota that is less": {processLimits{fileSize: 20e6}, 10e6, 0, []string{"RLIMIT_FSIZE", "80777216"}},
		"files of 1 GB":              {processLimits{fileSize: 1e9}, defaultQuotaBytes, 0, []string{"lower Config.QuotaBytes to 909090900"}},
		"files of 1 GB, as it says":  {processLimits{fileSize: 1e9}, 909090900, 0, nil},
		"a restore, files of 20 MB":  {processLimits{fileSize: 20e6}, 0, 0, []string{"RLIMIT_FSIZE", "80777216"}},
		"a restore, files of 100 MB": {processLimits{fileSize: 100e6}, 0, 0, nil},
	} {
		err := c.limits.check(c.quota, c.mapped)
		if (err != nil) != (len(c.want) > 0) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: no %q in: %v", name, part, err)
			}
		}
	}
}

// TestFileThatCannotBeMapped: a failed mapping leaves no file behind.
func TestFileThatCannotBeMapped(t *testing.T) {
	if !mapsAhead {
		t.Skip("etcd maps only the size of the database")
	}
	dir := t.TempDir()
	if err := tryMap(dir, 1<<47); err == nil {
		t.Error("mapped half of all addresses")
	}
	if err := tryMap(dir, 10<<30); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
