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

// Nodes are simulated nodes. As a component of a control plane they run while it
// does. They serve one control plane at a time; when Run has returned, it can be
// called again, for the same control plane or another. The methods are safe for
// concurrent use.
type Nodes struct {
	config Config
	names  []string

	mu      sync.Mutex
	dead    map[string]bool
	running *session
}

// New returns nodes that are started by Run. It copies cfg. Validate and Run
// report mistakes in it.
func New(cfg Config) *Nodes {
	n := &Nodes{config: cfg.clone(), dead: map[string]bool{}}
	for i := range n.config.Count {
		n.names = append(n.names, n.config.name(i))
	}
	return n
}

// Name is the component's name.
func (n *Nodes) Name() string { return n.config.Name }

// Names are the names of the nodes.
func (n *Nodes) Names() []string { return slices.Clone(n.names) }

// Validate is [Config.Validate] of what New was given.
func (n *Nodes) Validate() error { return n.config.Validate() }

// Run registers the nodes with the API server that config leads to, calls ready
// when all are Ready and pods run on them, and keeps them until ctx ends. config
// belongs to an administrator. Nodes and pods stay as objects then, like those of
// machines that have been switched off; the next Run takes them over.
//
// It returns nil when ctx has ended and nothing of it runs any more, and an error
// before that when Config is invalid, when Config.Address cannot be listened on,
// when the API server does not serve nodes, pods or leases (RuntimeConfig), when it
// refuses a node, or when the Nodes run already. An API
// server that does not answer is no error: it is tried again.
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
	taken := n.running != nil
	if !taken {
		n.running = s
	}
	n.mu.Unlock()
	if taken {
		return errors.New("hollownode: running already: a Nodes value serves one control plane at a time; make another with New")
	}
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.running = nil
	}()
	return s.run(ctx, ready)
}

// Kill lets the node die, as by a power cut: no heartbeats, no changes to its
// pods, no logs. What the control plane does about it is the business of its
// node controllers. A node that is killed while nothing runs does not come up
// with the others. An unknown name is an error.
func (n *Nodes) Kill(name string) error {
	_, err := n.setDead(name, true)
	return err
}

// Revive brings a node back that was killed. It registers anew, and its pods go
// on from where they were. One that lives is let be. An unknown name is an error.
func (n *Nodes) Revive(name string) error {
	s, err := n.setDead(name, false)
	if s != nil {
		s.revive(name)
	}
	return err
}

// setDead returns what runs, if there was anything to change.
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
