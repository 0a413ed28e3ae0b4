// Package leaks knows which goroutines tests find after everything has been stopped.
package leaks

import (
	"fmt"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle/selfending"
)

// closures is how many closures of a function are ignored: goleak compares whole names.
const closures = 4

// Ignored are the goroutines that tests of leaks ignore: those of selfending.Functions that
// a stop leaves in every control plane.
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
