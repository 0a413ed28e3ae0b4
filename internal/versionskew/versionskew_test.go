// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package versionskew_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/versionskew"
)

func TestFollows(t *testing.T) {
	for _, test := range []struct {
		stored, own   string
		shared, newer bool
		refused       string // with this cure
	}{
		{stored: "v1.36.3", own: "v1.36.3"},
		{stored: "v1.36.3", own: "v1.36.4", newer: true},
		{stored: "v1.36.4", own: "v1.36.3"},
		{stored: "v1.36.3", own: "v1.37.0-rc.1", newer: true},
		{stored: "v1.36.3", own: "v1.37.2", newer: true},
		{stored: "v1.35.0", own: "v1.37.2", refused: "start a release with v1.36 on it before"},
		{stored: "v1.33.0", own: "v1.36.3", refused: "start a release with v1.34 on it before"},
		{stored: "v1.37.0", own: "v1.36.3", refused: "v1.37 or newer"},
		{stored: "v1.38.0-beta.0", own: "v1.37.2", refused: "v1.38 or newer"},
		{stored: "v2.0.0", own: "v1.36.3", refused: "another major version"},
		{stored: "v1.37.0", own: "v1.36.3", shared: true},
		{stored: "v1.38.0", own: "v1.36.3", shared: true, refused: "v1.37 or newer"},
		{stored: "v1.35.0", own: "v1.36.3", shared: true, newer: true},
		{stored: "v1.34.9", own: "v1.36.3", shared: true, refused: "upgrade all of them to a release with v1.35 first"},
	} {
		newer, err := versionskew.Follows(test.stored, test.own, test.shared)
		if newer != test.newer || errors.Is(err, versionskew.Err) != (test.refused != "") || (err != nil) != (test.refused != "") {
			t.Errorf("%+v: got newer %v, %v", test, newer, err)
		}
		if err != nil && !strings.Contains(err.Error(), test.refused) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
	if _, err := versionskew.Follows("what?", "v1.36.3", false); err == nil {
		t.Error("got no error for an invalid version")
	}
}
