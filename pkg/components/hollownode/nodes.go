// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/logqueue"
)

// Nodes are simulated nodes, as a component of a control plane. They serve one control
// plane at a time. After Run has returned, it can be called again, for the same control
// plane or another. The methods are safe for concurrent use.
type Nodes struct {
	config Config
	names  []string

	mu      sync.Mutex
	dead    map[string]bool
	running *session
}

// New returns nodes with a copy of cfg. Run starts them. Validate and Run report an
// invalid cfg.
func New(cfg Config) *Nodes {
	n := &Nodes{config: cfg.clone(), dead: map[string]bool{}}
	for i := range n.config.Count {
		n.names = append(n.names, n.config.name(i))
	}
	return n
}

// Name returns the name of the component.
func (n *Nodes) Name() string { return n.config.Name }

// Names returns the names of the nodes.
func (n *Nodes) Names() []string { return slices.Clone(n.names) }

// Validate calls [Config.Validate].
func (n *Nodes) Validate() error { return n.config.Validate() }

// Run registers the nodes with the API server of config, calls ready when all are Ready
// and can run pods, and runs them until ctx ends. config must be that of an
// administrator. The Node and Pod objects remain, as after a shutdown of machines, and
// the next Run takes them over.
//
// Run returns nil when ctx and all goroutines have ended. It returns an error earlier if
// the Config is invalid, if it cannot listen on Config.Address, or if the Nodes are
// already running. It also returns an error if the API server rejects a node, or does not
// serve nodes, pods or leases (RuntimeConfig). If the API server does not answer, Run
// retries.
func (n *Nodes) Run(ctx context.Context, config *rest.Config, ready func()) (err error) {
	if err := n.config.Validate(); err != nil {
		return err
	}
	logger, done := logqueue.Ensured(logging.ForComponent(ctx, n.config.Logger), &err)
	defer done()
	s, err := newSession(n, config, logger)
	if err != nil {
		return err
	}
	defer s.queue.ShutDown()
	n.mu.Lock()
	alreadyRunning := n.running != nil
	if !alreadyRunning {
		n.running = s
	}
	n.mu.Unlock()
	if alreadyRunning {
		return errors.New("hollownode: already running: a Nodes value serves one control plane at a time; create another with New")
	}
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.running = nil
	}()
	return s.run(ctx, ready)
}

// Kill simulates a loss of power of the node: no heartbeats, no changes to its pods, no
// logs. The node controllers of the control plane handle the rest. A node that is killed
// before Run does not start with the others. An unknown name is an error.
func (n *Nodes) Kill(name string) error {
	_, err := n.setDead(name, true)
	return err
}

// Revive restarts a killed node. It registers again, and its pods continue. For a node
// that was not killed it does nothing. An unknown name is an error.
func (n *Nodes) Revive(name string) error {
	s, err := n.setDead(name, false)
	if s != nil {
		s.revive(name)
	}
	return err
}

// setDead returns the running session, or nil if there is none or nothing changed.
func (n *Nodes) setDead(name string, dead bool) (*session, error) {
	if !slices.Contains(n.names, name) {
		return nil, fmt.Errorf("hollownode: no node %q; there are %s to %s", name, n.names[0], n.names[len(n.names)-1])
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead[name] == dead {
		return nil, nil
	}
	n.dead[name] = dead
	return n.running, nil
}

func (n *Nodes) isDead(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead[name]
}
