// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package diskguard

import (
	"testing"
	"time"
)

// TestMeasuredAfterTheClockIsSetBack: the time of the next measurement is not a time of
// day, which may be a year away after the clock is set back.
func TestMeasuredAfterTheClockIsSetBack(t *testing.T) {
	s := New(t.TempDir(), true)
	_ = s.look(0)
	if next := time.Duration(s.next.Load()); next > time.Since(steadyFrom)+lookInterval {
		t.Errorf("the next measurement is %v after the start of the process", next)
	}
}
