package lifecycle

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
)

// familyLabel is the profiler label that the goroutines of a Family carry.
const familyLabel = "kubembed"

var families atomic.Int64

// Family is every goroutine that a function starts, those that they start, and
// so on. It is for code that starts goroutines and offers no way to wait for
// them, which upstream's controllers are. It works through the profiler's
// labels, which a goroutine inherits from the one that starts it; they show in
// the host's profiles which work is a control plane's.
type Family struct{ id string }

// NewFamily returns an empty family.
func NewFamily() *Family {
	return &Family{id: strconv.FormatInt(families.Add(1), 10)}
}

// Label is the family's label in the text form of a goroutine profile.
func (f *Family) Label() string { return fmt.Sprintf("%q:%q", familyLabel, f.id) }

// Do runs f in this goroutine. What it starts belongs to the family.
func (f *Family) Do(ctx context.Context, fn func()) {
	pprof.Do(ctx, pprof.Labels(familyLabel, f.id), func(context.Context) { fn() })
}

// Adopt makes the calling goroutine, and what it starts from now on, the
// family's and no other's.
func (f *Family) Adopt() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(familyLabel, f.id)))
}

// Wait returns when no goroutine of the family runs, save those with one of
// the ignored functions on their stack, or with an error that names one that
// does when ctx ends. Nothing of the family may call it.
func (f *Family) Wait(ctx context.Context, ignore ...string) error {
	var running int
	var example string
	err := Poll(ctx, func() bool {
		running, example = f.running(ignore)
		return running == 0
	})
	if err != nil {
		return fmt.Errorf("%d goroutines still running, one of them %s: %w", running, example, err)
	}
	return nil
}

// running counts the family in the goroutine profile, whose text form is: a
// line "N @ addresses", a line of labels, and a line for each function.
func (f *Family) running(ignore []string) (count int, example string) {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return 0, ""
	}
	label := f.Label()
	var (
		number  int
		ours    bool
		ignored bool
		bottom  string
	)
	flush := func() {
		if ours && !ignored {
			count += number
			example = bottom
		}
		number, ours, ignored, bottom = 0, false, false, ""
	}
	lines := bufio.NewScanner(&profile)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "":
			flush()
		case strings.HasPrefix(line, "# labels: "):
			ours = strings.Contains(line, label)
		case strings.HasPrefix(line, "#"):
			fields := strings.Split(line, "\t")
			if len(fields) > 2 {
				bottom = fields[2]
			}
			for _, function := range ignore {
				ignored = ignored || strings.Contains(line, function)
			}
		default:
			if n, _, ok := strings.Cut(line, " @ "); ok {
				number, _ = strconv.Atoi(n)
			}
		}
	}
	flush()
	return count, example
}
