// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"net"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for cidr, want := range map[string]string{
		Default:           "",
		"10.0.0.0/29":     "",
		"fd00::/64":       "",
		"10.0.0.0/30":     "at least 8 addresses",
		"fd00::/63":       "/64 or smaller",
		"127.0.0.0/16":    "loopback addresses",
		"169.254.10.0/24": "link-local addresses",
		"0.0.0.0/0":       "unspecified addresses",
	} {
		_, parsed, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		errs := Validate(field.NewPath("ServiceCIDR"), parsed)
		switch {
		case want == "" && len(errs) > 0:
			t.Errorf("Validate(%s): got %v, want no error", cidr, errs)
		case want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), want)):
			t.Errorf("Validate(%s): got %v, want one error with %q", cidr, errs, want)
		}
	}
	_, parsed, _ := net.ParseCIDR(Default)
	parsed.IP[3] = 1
	if errs := Validate(field.NewPath("ServiceCIDR"), parsed); len(errs) != 1 || !strings.Contains(errs[0].Error(), "first address") {
		t.Errorf("Validate(%s): got %v, want an error about the first address", parsed, errs)
	}
}
