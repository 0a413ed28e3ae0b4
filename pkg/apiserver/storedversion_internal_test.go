package apiserver

import (
	"errors"
	"testing"
)

func TestWhoMayFollow(t *testing.T) {
	for _, test := range []struct {
		stored, own          string
		shared, newer, wrong bool
	}{
		{stored: "v1.36.3", own: "v1.36.3"},
		{stored: "v1.36.3", own: "v1.36.4", newer: true},
		{stored: "v1.36.4", own: "v1.36.3"},
		{stored: "v1.36.3", own: "v1.37.0-rc.1", newer: true},
		{stored: "v1.33.0", own: "v1.36.3", newer: true},
		{stored: "v1.37.0", own: "v1.36.3", wrong: true},
		{stored: "v2.0.0", own: "v1.36.3", wrong: true},
		{stored: "v1.37.0", own: "v1.36.3", shared: true},
		{stored: "v1.38.0", own: "v1.36.3", shared: true, wrong: true},
		{stored: "v1.35.0", own: "v1.36.3", shared: true, newer: true},
		{stored: "v1.34.9", own: "v1.36.3", shared: true, wrong: true},
	} {
		newer, err := follows(test.stored, test.own, test.shared)
		if newer != test.newer || errors.Is(err, ErrVersionSkew) != test.wrong || (err != nil) != test.wrong {
			t.Errorf("%+v: newer %v, %v", test, newer, err)
		}
	}
	if _, err := follows("what?", "v1.36.3", false); err == nil {
		t.Error("no version is one")
	}
}
