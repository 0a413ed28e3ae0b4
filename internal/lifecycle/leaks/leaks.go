// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package leaks lists the goroutines that remain in tests after everything has stopped.
package leaks

import (
	"fmt"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle/selfending"
)

// closures is the number of ignored closures per function: goleak compares whole names.
const closures = 4

// Ignored returns the goroutines that leak tests ignore: the usual ones in
// selfending.Functions, which remain after every stop.
func Ignored() []goleak.Option {
	var all []goleak.Option
	for _, f := range selfending.Functions {
		if !f.Usual {
			continue
		}
		all = append(all, goleak.IgnoreAnyFunction(f.Symbol()))
		for i := range closures {
			all = append(all, goleak.IgnoreAnyFunction(fmt.Sprintf("%s.func%d", f.Symbol(), i+1)))
		}
	}
	return all
}
