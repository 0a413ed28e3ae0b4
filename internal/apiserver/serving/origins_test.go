// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/apiserver/serving"
)

// TestOriginsOfOthersAreNotAllowed: each expression matches an origin of somebody else,
// and is refused.
func TestOriginsOfOthersAreNotAllowed(t *testing.T) {
	const anchored, dot, beginning, end = "must be anchored", `"." matches any character`, "end with it", "begin with it"
	for expression, test := range map[string]struct{ other, want string }{
		"https://console[.]example[.]com":                   {"https://console.example.com.evil.org", anchored},
		"^https://console[.]example[.]com":                  {"https://console.example.com.evil.org", anchored},
		"https?://console[.]example[.]com":                  {"https://console.example.com.evil.org", anchored},
		"https:[/]{2}console[.]example[.]com":               {"https://console.example.com.evil.org", anchored},
		"^http(s:|:)//console[.]example[.]com":              {"http://console.example.com.evil.org", anchored},
		"^https://console[.]example[.]com|$":                {"https://evil.org", anchored},
		"^https://console[.]example[.]com$?":                {"https://console.example.com.evil.org", anchored},
		"^https://console[.]example[.]com(:|$|)":            {"https://console.example.com.evil.org", anchored},
		"^https://a[.]example[.]com$|b[.]example[.]com":     {"https://b.example.com.evil.org", anchored},
		"^https://console[.]example[.]com[:x]":              {"https://console.example.comx.evil.org", anchored},
		`^https://console[.]example[.]com[$]|^https://c`:    {"https://c.evil.org", anchored},
		"console[.]example[.]com$":                          {"https://evilconsole.example.com", anchored},
		"^?console[.]example[.]com(:|$)":                    {"https://evilconsole.example.com", anchored},
		"^https:":                                           {"https://evil.org", anchored},
		"":                                                  {"https://evil.org", anchored},
		"^https://console.example.com$":                     {"https://consoleXexample.com", dot},
		"//(console|www).example[.]com(:|$)":                {"https://wwwXexample.com", dot},
		"^https://console.?example[.]com$":                  {"https://consoleXexample.com", dot},
		"^https://.*example[.]com$":                         {"https://evilexample.com", beginning},
		"//.+example[.]com(:|$)":                            {"https://evilexample.com", beginning},
		"^https://console[.]example[.]com.*$":               {"https://console.example.com.evil.org", end},
		"^https://localhost(.*)$":                           {"https://localhost.evil.org", end},
		"(?s)^https://console[.]example[.]com(:443|.{3,})$": {"https://console.example.com.evil.org", end},
	} {
		if !regexp.MustCompile(expression).MatchString(test.other) {
			t.Errorf("%s: does not match %s", expression, test.other)
		}
		if err := serving.CheckOrigin(expression); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", expression, err, test.want)
		}
	}
}

func TestOriginsOfOneHostAreAllowed(t *testing.T) {
	for expression, origin := range map[string]string{
		"^https://console[.]example[.]com$":              "https://console.example.com",
		`^https://console\.example\.com$`:                "https://console.example.com",
		"^https://console[.]example[.]com(:[0-9]+)?$":    "https://console.example.com:8443",
		"//console[.]example[.]com(:|$)":                 "https://console.example.com:8443",
		"://console[.]example[.]com:":                    "https://console.example.com:8443",
		"^https://console[.]example[.]com(:.*)?$":        "https://console.example.com:8443",
		"(?i)^https?://(a|b)[.]example[.]com(:|$)":       "https://b.example.com",
		"^(https://a[.]example[.]com|http://localhost)$": "http://localhost",
		"^https://.*[.]example[.]com$":                   "https://a.b.example.com",
		"^https://([a-z]+[.])*example[.]com$":            "https://example.com",
		"^https://[a-z0-9-]{1,20}[.]example[.]com$":      "https://a-1.example.com",
		`^http://\[::1\](:[0-9]+)?$`:                     "http://[::1]:8080",
		"^null$":                                         "null",
		"^https://.*$":                                   "https://anything.example",
	} {
		if !regexp.MustCompile(expression).MatchString(origin) {
			t.Errorf("%s: does not match %s", expression, origin)
		}
		if err := serving.CheckOrigin(expression); err != nil {
			t.Errorf("%s: %v", expression, err)
		}
	}
}
