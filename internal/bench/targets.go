// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// bar is the target of a figure: its ratio to a peer's figure or, without a peer, the
// figure itself.
type bar struct {
	section, figure string
	side, peer      string
	atLeast         bool // else at most
	bar, aim        float64
}

// bars are the targets of the project, for the figures that end with the text. {rate}
// stands for any number.
var bars = slices.Concat([]bar{
	{"start", startName, own, envtest, false, 1. / 16, 1. / 20},
	{"start", stopName, own, envtest, false, 1. / 20, 1. / 50},
	{"start", "watches open", own, envtest, false, 1. / 20, 1. / 50},
	{"start", memoryName, own, envtest, false, 1 / 2.5, 1. / 4},
	{"start", privateName, own, envtest, false, 1 / 2.5, 1 / 2.5},
	{"planes", furtherResident, own, "", false, 30, 15},
	{"planes", furtherPrivate, own, "", false, 30, 20},
	{"requests", rateOf("create", 16), tuned, envtest, true, 1.5, 2.5},
	{"requests", rateOf("create", 16), own, envtest, true, 1.5, 2.5},
	{"requests", rateOf("create", 16), inProcess, envtest, true, 3, 5},
	{"requests", "create at {rate}/s, 16 clients: p99", own, envtest, false, 1, 1},
	{"requests", "create at {rate}/s, 16 clients: p99", inProcess, envtest, false, 1, 1},
	{"requests", "create at {rate}/s, 16 clients: p99", tunedInProcess, envtest, false, 1, 1},
	{"list", ": time", tuned, envtest, false, 1, 1},
	{"list", ": time", own, envtest, false, 1, 1},
	{"list", ": time", inProcess, envtest, false, 1 / 1.5, 1 / 1.5},
	{"watch", "watchers: events", own, envtest, true, 1, 1},
	{"watch", "watchers: events", inProcess, envtest, true, 1.5, 1.5},
	{"heartbeats", "nodes: CPU", own, envtest, false, 1, 1},
	{"growth", "1 client: p50, to that of the fewest", own, "", false, 1.3, 1.3},
	{"growth", "memory of each", own, envtest, false, 1, 1},
	{"durable", "16 writers: rate", durableOwn, separate, true, 1.5, 2.5},
	{"durable", "1 writers in-process: p50", durableOwn, rawEtcd, false, 2, 1.3},
	{"tests", testsWall, pooled, own, false, 1, 1},
	{"tests", testsPeak, pooled, own, false, 2. / 3, 2. / 3},
	{"pool", newFirst, pooled, "", false, 500, 500},
	{"pool", newP50, pooled, "", false, 20, 20},
	{"pool", newP99, pooled, "", false, 100, 100},
	{"edit", editName, own, envtest, false, 1, 1. / 2},
	{"edit", editName, pooled, envtest, false, 0.5, 0.45},
	{"edit", beyondClient, pooled, "", false, 3, 3},
	{"packages", packagesName, pooled, envtest, false, 0.35, 0.35},
	{"packages", packagesCPU, pooled, envtest, false, 0.5, 0.5},
	{"scale", podsRunning, simulated, kwok, false, 0.5, 0.5},
	{"scale", podsCPU, simulated, kwok, false, 0.5, 0.5},
	{"scale", scaleMemory, simulated, kwok, false, 0.7, 0.7},
	{"scale", endedWatches, simulated, "", false, 0, 0},
}, effectBars())

// barsOf returns the bars of a figure.
func barsOf(section, figure string) (found []bar) {
	for _, b := range bars {
		before, after, _ := strings.Cut(b.figure, "{rate}")
		if b.section != section {
			continue
		}
		if strings.Contains(b.figure, "{rate}") && strings.HasPrefix(figure, before) && strings.HasSuffix(figure, after) ||
			!strings.Contains(b.figure, "{rate}") && strings.HasSuffix(figure, b.figure) {
			found = append(found, b)
		}
	}
	return found
}

// text formats the bar: "own / envtest ≤ 0.1 (0.05)".
func (b bar) text(unit string) string {
	what := b.side
	if b.peer != "" {
		what = short(b.side) + " / " + b.peer
	}
	return what + " " + b.limits(unit)
}

// limits formats the bar and, in parentheses, the aim. They are ratios if there is a
// peer.
func (b bar) limits(unit string) string {
	relation := "≤"
	if b.atLeast {
		relation = "≥"
	}
	if b.peer != "" {
		unit = ""
	}
	text := relation + " " + strings.TrimSpace(digits(b.bar)+" "+unit)
	if b.aim != b.bar {
		text += fmt.Sprintf(" (%s)", digits(b.aim))
	}
	return text
}

// verdict compares the medians.
func (b bar) verdict(f figure) string {
	ours, ok := f.sides[b.side]
	if !ok {
		return ""
	}
	value := spread(ours).median
	if b.peer != "" {
		theirs, ok := f.sides[b.peer]
		if !ok {
			return ""
		}
		value /= spread(theirs).median
	}
	reaches := func(limit float64) bool {
		if b.atLeast {
			return cmp.Compare(value, limit) >= 0
		}
		return cmp.Compare(value, limit) <= 0
	}
	switch {
	case reaches(b.aim):
		return "aim"
	case reaches(b.bar):
		return "bar"
	}
	return "**missed**"
}

// short returns the name of a side for a narrow column.
func short(side string) string {
	switch side {
	case inProcess:
		return "in-process"
	case tuned:
		return "GOGC=400"
	case tunedInProcess:
		return "in-process, GOGC=400"
	case durableOwn:
		return own
	}
	return side
}
