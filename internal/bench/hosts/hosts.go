// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package hosts is the protocol between the bench and the programs that run control
// planes. Ours and envtest's are in the directories own and envtest. owncluster and
// upstream add controllers, a scheduler and a node. testserver, in the module peers,
// speaks the same protocol without this package.
//
// A host starts its control plane, creates a pod, and writes Ready. Then it answers
// commands. Each is one line of JSON on standard input and output. At the end of its
// input it stops everything and ends, so a killed bench leaves nothing behind. It handles
// no signals: the signals of a terminal belong to the bench.
package hosts

import (
	"time"

	"github.com/kubembed/kubembed/internal/bench/effects"
	"github.com/kubembed/kubembed/internal/bench/load"
)

// Ready is the first line.
type Ready struct {
	Kubeconfig string        // an administrator's
	Started    time.Duration // from the start until the first pod is stored
	Error      string        // the reason if there is no control plane
}

// Commands of a host.
const (
	Stop = "stop" // stop the control planes, and end
	Load = "load" // do Command.Load itself, with its in-process client; ours only
	More = "more" // start that many further control planes; ours only
	Heap = "heap" // report the heap in use after a garbage collection; ours only
	// Effects measures Command.Effects with the in-process client; owncluster only.
	Effects = "effects"
	Nodes   = "nodes" // run that many simulated nodes; the host nodes only
)

// Command is a line to a host.
type Command struct {
	Do      string
	Load    load.Spec    `json:",omitzero"`
	Count   int          `json:",omitempty"`
	Effects effects.Spec `json:",omitzero"`
}

// Answer is a line from a host.
type Answer struct {
	Took    time.Duration    // for the whole command
	Each    []time.Duration  `json:",omitempty"` // for each further control plane
	Load    load.Result      `json:",omitzero"`
	Bytes   int64            `json:",omitempty"`
	Effects []effects.Result `json:",omitempty"`
	Error   string           `json:",omitempty"`
}
