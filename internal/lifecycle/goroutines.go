// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"bytes"
	"runtime/pprof"

	"github.com/google/pprof/profile"
)

// Goroutines are goroutines with the same stack and labels.
type Goroutines struct {
	Count  int
	Labels map[string]string // the profiler's
	Stack  []string          // names of functions, the innermost first
}

// AllGoroutines returns the goroutines of the process. It stops the process for a moment,
// and takes milliseconds per thousand goroutines.
func AllGoroutines() ([]Goroutines, error) {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 0); err != nil {
		return nil, err
	}
	p, err := profile.ParseData(b.Bytes())
	if err != nil {
		return nil, err
	}
	all := make([]Goroutines, 0, len(p.Sample))
	for _, sample := range p.Sample {
		g := Goroutines{Count: int(sample.Value[0]), Labels: map[string]string{}}
		for key, values := range sample.Label {
			g.Labels[key] = values[0]
		}
		for _, location := range sample.Location {
			for _, line := range location.Line {
				g.Stack = append(g.Stack, line.Function.Name)
			}
		}
		all = append(all, g)
	}
	return all, nil
}

// outermost returns the function in which the goroutines started.
func (g *Goroutines) outermost() string {
	if len(g.Stack) == 0 {
		return "unknown"
	}
	return g.Stack[len(g.Stack)-1]
}
