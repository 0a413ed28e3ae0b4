// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"context"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
)

// probe polls the status of one member.
type probe struct {
	endpoint string
	cancel   context.CancelFunc
	done     chan struct{}

	mu    sync.Mutex
	state probeState
}

type probeState struct {
	asked   bool
	answers bool
	leads   bool
	term    uint64
}

// run keeps the client on the members that answer.
func (n *Client) run(ctx context.Context) {
	defer close(n.done)
	probes := map[string]*probe{}
	defer func() {
		for _, p := range probes {
			p.stop()
		}
	}()
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	var leaderless time.Time // since when there is no leader
	var leaving []departure
	built := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		leaving = slices.DeleteFunc(leaving, departure.over)
		endpoints := n.endpoints()
		for endpoint, p := range probes {
			if len(endpoints) < 2 || !slices.Contains(endpoints, endpoint) {
				p.stop()
				delete(probes, endpoint)
			}
		}
		for _, endpoint := range endpoints {
			if len(endpoints) > 1 && probes[endpoint] == nil {
				probes[endpoint] = n.probe(ctx, endpoint)
			}
		}
		use, led := choose(endpoints, probes)
		if led {
			leaderless = time.Time{}
		} else if leaderless.IsZero() {
			leaderless = time.Now()
		}
		// Until an election is over, followers forward writes to the failed leader. Such
		// writes get no response for seven seconds.
		if !led && time.Since(leaderless) < electionTime {
			continue
		}
		if built = built || n.built(); !built {
			continue
		}
		if before := n.client.Endpoints(); len(use) > 0 && !slices.Equal(before, use) {
			n.client.SetEndpoints(use...)
			leaving = append(leaving, n.depart(before, use))
		}
	}
}

// built reports whether the connection has found its first endpoints. etcd's resolver
// does that at the first use of the client, without a lock against SetEndpoints.
func (n *Client) built() bool {
	state := n.client.ActiveConnection().GetState()
	return state == connectivity.Ready || state == connectivity.TransientFailure
}

// departTime is how long calls may continue on a member that the client has left although
// it answers.
const departTime = time.Second

// departure has connections that the client no longer uses. gRPC leaves them open while
// they have a watch, and a call that had chosen one of them but not begun waits forever.
// When they are closed, both use another endpoint.
type departure struct {
	conns []*dialed
	at    time.Time
}

func (n *Client) depart(before, use []string) departure {
	d := departure{at: time.Now()}
	for _, endpoint := range before {
		if !slices.Contains(use, endpoint) {
			d.conns = append(d.conns, n.dialer.connections(memberaddr.HostPort(endpoint))...)
		}
	}
	return d
}

// over closes the connections after departTime, and reports whether it did.
func (d departure) over() bool {
	if time.Since(d.at) < departTime {
		return false
	}
	for _, c := range d.conns {
		_ = c.Close()
	}
	return true
}

// ElectionTimeout is how long a follower waits for its leader before it campaigns, etcd's
// default. Package etcd configures the members of a cluster with it.
const ElectionTimeout = time.Second

// electionTime is the longest time that followers wait for a leader.
const electionTime = 2 * ElectionTimeout

// choose returns the leader's endpoint and true. If the leader does not answer, it
// returns the endpoints that do, or all if none does. A write that a follower has
// forwarded to a leader that then fails is lost without an error; clients of the leader
// notice at once.
func choose(endpoints []string, probes map[string]*probe) (use []string, led bool) {
	var leader string
	var term uint64
	for _, endpoint := range endpoints {
		p := probes[endpoint]
		if p == nil {
			use, led = append(use, endpoint), true // the only one
			continue
		}
		state := p.get()
		if state.answers || !state.asked {
			use = append(use, endpoint)
		}
		if state.answers && state.leads && state.term >= term {
			leader, term = endpoint, state.term
		}
	}
	switch {
	case leader != "":
		return []string{leader}, true
	case len(use) > 0:
		return use, led
	default:
		return slices.Clone(endpoints), led
	}
}

func (n *Client) probe(ctx context.Context, endpoint string) *probe {
	ctx, cancel := context.WithCancel(ctx)
	p := &probe{endpoint: endpoint, cancel: cancel, done: make(chan struct{})}
	go p.run(ctx, n)
	return p
}

func (p *probe) stop() {
	p.cancel()
	<-p.done
}

func (p *probe) get() probeState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *probe) run(ctx context.Context, n *Client) {
	defer close(p.done)
	// A connection of its own, for this endpoint only, without the client's retries,
	// which are logged. It also stays open when the client leaves the endpoint.
	dialer := NewDialer(n.dialer.tls, n.dialer.encrypted)
	conn, err := grpc.NewClient("passthrough:///"+memberaddr.HostPort(p.endpoint), dialer.options()...)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	leaderless := 0
	for {
		state := ask(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		// A partitioned member has no leader. During an election no member has one, which
		// is no reason to leave it.
		if leaderless++; !state.answers || state.term > 0 {
			leaderless = 0
		}
		state.answers = state.answers && time.Duration(leaderless)*probeInterval < electionTime
		p.mu.Lock()
		left := (p.state.answers || !p.state.asked) && !state.answers
		p.state = state
		p.mu.Unlock()
		if left {
			// Its calls use another endpoint, including calls on connections that the
			// client has left for another reason.
			n.dialer.cut(memberaddr.HostPort(p.endpoint))
			dialer.cut(memberaddr.HostPort(p.endpoint))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask returns the status of a member. The term is zero for a member without a leader.
func ask(ctx context.Context, conn *grpc.ClientConn) probeState {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	status, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	state := probeState{asked: true, answers: err == nil}
	if err == nil && status.Leader != 0 {
		state.term = status.RaftTerm
		state.leads = status.Leader == status.Header.MemberId
	}
	return state
}
