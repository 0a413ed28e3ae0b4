// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// normalize accepts flags in all forms of Go and Kubernetes programs: one dash or two
// before a name, and "-v 2" as well as "-v=2".
func normalize(flags *pflag.FlagSet, args []string) []string {
	var normal []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(normal, args[i:]...)
		}
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && len(name) > 1 {
			if level, ok := strings.CutPrefix(name, "v"); ok && isNumber(level) {
				arg = "-v=" + level // -v2
			} else {
				arg = "-" + arg
			}
		}
		if (arg == "-v" || arg == "--v") && i+1 < len(args) {
			if isNumber(args[i+1]) {
				i++
				arg += "=" + args[i]
			}
		}
		normal = append(normal, arg)
		// The next argument is the value, even if it looks like a flag.
		if f := flags.Lookup(name); f != nil && strings.HasPrefix(arg, "--") && f.NoOptDefVal == "" && !strings.Contains(arg, "=") && i+1 < len(args) {
			i++
			normal = append(normal, args[i])
		}
	}
	return normal
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// usageError is an error in the command line or the configuration file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// explain rewrites errors of pflag: first the flag, then the value and the accepted form.
func explain(flags *pflag.FlagSet, err error) error {
	var (
		unknown *pflag.NotExistError
		invalid *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("unknown flag --%s%s (-h lists the flags)", unknown.GetSpecifiedName(), didYouMean(flags, unknown.GetSpecifiedName(), "--"))
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s: %q: %w", invalid.GetFlag().Name, invalid.GetValue(), invalid.Unwrap())
	case errors.As(err, &missing):
		return fmt.Errorf("--%s: the value is missing (see -h)", missing.GetFlag().Name)
	}
	return fmt.Errorf("%w (-h lists the flags)", err)
}

// didYouMean suggests the flag closest to a misspelt name, if any is close.
func didYouMean(flags *pflag.FlagSet, name, dashes string) string {
	best, least := "", len(name)/3+1
	flags.VisitAll(func(f *pflag.Flag) {
		d := distance(name, f.Name)
		if d > least && len(name) > 3 && strings.HasPrefix(f.Name, name) {
			d = least
		}
		if d <= least && len(f.Name) > 1 && (best == "" || d < least) {
			best, least = f.Name, d
		}
	})
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %s%s?", dashes, best)
}

// distance is the number of letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
