//go:build linux

package attack

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

var (
	duration = flag.Duration("for", 20*time.Second, "how long the attacks take")
	chosen   = flag.String("attacks", "", "the names of some attacks, with commas; empty is all")
	recovery = flag.Duration("recovery", time.Minute, "how soon after the attacks all must be as before; the full run wants 5s")
	memory   = flag.Int("memory", 4096, "how many MiB the control plane may use at most")
)

// programs are what this binary becomes when it is started under another name.
var programs = map[string]func(args []string) error{"attacked-plane": planeMain}

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if program, ok := programs[name]; ok {
		if err := program(os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Clients of a control plane that is attacked have much to say, and we count it.
	klog.SetLogger(klog.Logger{})
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

// selected are the names of the attacks to run.
func selected(t *testing.T) (names []string) {
	t.Helper()
	if *chosen == "" {
		for name := range attacks {
			names = append(names, name)
		}
		return names
	}
	names = strings.Split(*chosen, ",")
	for _, name := range names {
		if attacks[name] == nil {
			t.Fatalf("-attacks: there is no %q", name)
		}
	}
	return names
}
