// Package hosts is how the bench speaks with the programs that have control planes:
// those of ours and of envtest in the directories own and envtest, and in the module
// peers, which writes the same without this package, testserver.
//
// A host starts its control plane, creates a pod, and says Ready. After that it
// answers commands. Each is one line of JSON on standard input and output. At the
// end of its input it stops everything and ends, so that nothing is left of a bench
// that was killed. It takes no signals: those of a terminal are the bench's.
package hosts

import (
	"time"

	"github.com/kubembed/kubembed/internal/bench/load"
)

// Ready is the first line.
type Ready struct {
	Kubeconfig string        // an administrator's
	Started    time.Duration // until the first pod is stored, from the beginning of the start
	Error      string        // why there is no control plane
}

// What a host can be told to do.
const (
	Stop = "stop" // the control planes, and to end
	Load = "load" // do Command.Load itself, with its in-process client; ours only
	More = "more" // start so many further control planes; ours only
	Heap = "heap" // say how much is in use after a garbage collection; ours only
)

// Command is a line to a host.
type Command struct {
	Do    string
	Load  load.Spec `json:",omitzero"`
	Count int       `json:",omitempty"`
}

// Answer is a line from it.
type Answer struct {
	Took  time.Duration   // for all of it
	Each  []time.Duration `json:",omitempty"` // for each further control plane
	Load  load.Result     `json:",omitzero"`
	Bytes int64           `json:",omitempty"`
	Error string          `json:",omitempty"`
}
