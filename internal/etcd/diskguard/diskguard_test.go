package diskguard

import (
	"testing"
	"time"
)

// TestRoomIsLookedAtAfterTheClockIsSetBack: when to look again is not a time of day, of
// which a year may be left.
func TestRoomIsLookedAtAfterTheClockIsSetBack(t *testing.T) {
	s := New(t.TempDir(), true)
	_ = s.look(0)
	if next := time.Duration(s.next.Load()); next > time.Since(steadyFrom)+lookInterval {
		t.Errorf("the next look is %v after the process began", next)
	}
}
