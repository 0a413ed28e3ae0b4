// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// value is a flag of the command line and the configuration file. Its errors name the
// accepted form, where packages flag and pflag say "parse error".
type value struct {
	set  func(string) error
	show func() string
	kind string
}

func (v value) Set(s string) error { return v.set(s) }
func (v value) String() string     { return v.show() }
func (v value) Type() string       { return v.kind }

func text(p *string) value {
	return value{
		set:  func(s string) error { *p = s; return nil },
		show: func() string { return *p },
		kind: "string",
	}
}

func boolean(p *bool) value {
	return value{
		set: func(s string) error {
			b, err := strconv.ParseBool(s)
			if err != nil {
				return errors.New("must be true or false")
			}
			*p = b
			return nil
		},
		show: func() string { return strconv.FormatBool(*p) },
		kind: "bool",
	}
}

func number(p *int, least int) value {
	return value{
		set: func(s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < least || n > math.MaxInt32 {
				return fmt.Errorf("must be a whole number, at least %d", least)
			}
			*p = n
			return nil
		},
		show: func() string { return strconv.Itoa(*p) },
		kind: "number",
	}
}

// list takes elements separated by commas, and may be repeated.
func list(p *[]string) value {
	return value{
		set: func(s string) error {
			*p = append(*p, strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })...)
			return nil
		},
		show: func() string { return strings.Join(*p, ",") },
		kind: "list",
	}
}

// period takes durations of time.ParseDuration, with days before them.
func period(p *time.Duration, least time.Duration) value {
	return value{
		set: func(s string) error {
			d, err := parseDuration(s)
			switch {
			case err != nil:
				return err
			case d < least && least > 0:
				return errors.New("must be more than zero")
			case d < least:
				return errors.New("must not be negative")
			}
			*p = d
			return nil
		},
		show: func() string { return p.String() },
		kind: "duration",
	}
}

// days matches the unit that time.ParseDuration does not have.
var days = regexp.MustCompile(`^(\d+)d(.*)$`)

func parseDuration(s string) (time.Duration, error) {
	const help = "must be a duration like 90m, 12h, 7d or 1d12h, with the units d (days of 24 hours), h, m and s"
	rest, d := s, time.Duration(0)
	if match := days.FindStringSubmatch(s); match != nil {
		n, err := strconv.ParseInt(match[1], 10, 64)
		if err != nil || n > int64(math.MaxInt64/(48*time.Hour)) {
			return 0, errors.New("is too long; " + help)
		}
		d, rest = time.Duration(n)*24*time.Hour, match[2]
		if rest == "" {
			return d, nil
		}
		if strings.ContainsAny(rest[:1], "+-") {
			return 0, errors.New(help)
		}
	}
	more, err := time.ParseDuration(rest)
	if err != nil || d > 0 && d+more < d {
		return 0, errors.New(help)
	}
	return d + more, nil
}
