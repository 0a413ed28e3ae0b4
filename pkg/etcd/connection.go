package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// connectTimeout is how long Connect waits for the first answer.
const connectTimeout = 5 * time.Second

// oldestRemote is the oldest etcd that Kubernetes' storage is tested with: older ones
// do not report the progress of watches reliably.
var oldestRemote = semver.Version{Major: 3, Minor: 5}

// ErrUnreachable says that no endpoint of an etcd elsewhere has answered. The error's
// text has the reason for each.
var ErrUnreachable = errdefs.ErrUnreachable

// Connection is a connection to an etcd elsewhere. Its methods may be called
// concurrently.
type Connection struct {
	network *network
	gateway *gateway

	closeOnce sync.Once
	done      chan struct{}
}

// Connect connects to an etcd elsewhere, and returns when one of its endpoints has
// answered. Without an answer it gives up when ctx ends, or after five seconds, with
// an error that wraps ErrUnreachable and says for each endpoint what is in the way.
// etcd must be 3.5 or newer.
//
// From then on the connection mends itself. Calls go to the endpoints in turn, and
// not to those that have not answered for some two seconds or have no leader: what
// waits for them fails with an error of code Unavailable. The client repeats reads by
// itself; of a write nobody can know then whether it has been done.
func Connect(ctx context.Context, r ExternalConfig) (_ *Connection, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	endpoints := slices.Clone(r.Endpoints)
	n, err := newNetwork(newDialer(r.tlsInfo(), r.encrypted()), func() []string { return endpoints }, r.Logger)
	if err != nil {
		return nil, fmt.Errorf("etcd: connect: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := n.reach(ctx, endpoints); err != nil {
		n.close()
		return nil, fmt.Errorf("etcd: connect: %w", err)
	}
	return &Connection{
		network: n,
		gateway: &gateway{server: func() *grpc.Server { return newProxy(n.client) }},
		done:    make(chan struct{}),
	}, nil
}

// reach waits until one of endpoints answers.
func (n *network) reach(ctx context.Context, endpoints []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(endpoints))
	for _, endpoint := range endpoints {
		go func() {
			status, err := n.status(ctx, endpoint)
			if err == nil {
				err = checkRemote(endpoint, status)
			}
			answers <- err
		}()
	}
	var first error
	reached := false
	for range endpoints {
		err := <-answers
		switch {
		case err == nil:
			reached = true
			cancel()
		case errors.Is(err, errTooOld):
			// Not to be hidden by another that is not.
			first = err
		case first == nil:
			first = err
		}
	}
	if reached && !errors.Is(first, errTooOld) {
		return nil
	}
	if errors.Is(first, errTooOld) {
		return first
	}
	errs := []error{fieldpath.New("etcd", "ExternalConfig.Endpoints", "%w", ErrUnreachable)}
	for _, endpoint := range endpoints {
		errs = append(errs, fmt.Errorf("%s: %w", endpoint, n.problemOf(endpoint)))
	}
	return &list{errs}
}

// status asks one endpoint until it answers.
func (n *network) status(ctx context.Context, endpoint string) (*pb.StatusResponse, error) {
	conn, err := n.client.Dial(endpoint)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{}, grpc.WaitForReady(true))
}

var errTooOld = errors.New("etcd is too old")

func checkRemote(endpoint string, status *pb.StatusResponse) error {
	version, err := semver.NewVersion(status.Version)
	if err != nil {
		return fmt.Errorf("%s: its version: %w", endpoint, err)
	}
	if version.LessThan(oldestRemote) {
		return fieldpath.New("etcd", "ExternalConfig.Endpoints", "%s: %w: it is %s, and must be 3.5 or newer", endpoint, errTooOld, version)
	}
	return nil
}

// list is an error of several in one line, the first being what it is about.
type list struct{ errs []error }

func (l *list) Error() string {
	text := l.errs[0].Error()
	for i, err := range l.errs[1:] {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		text += separator + err.Error()
	}
	return text
}

func (l *list) Unwrap() []error { return l.errs }

// Client returns the client. It is shared and belongs to the connection; callers must
// not close it.
func (c *Connection) Client() *clientv3.Client { return c.network.client }

// DialContext is Member.DialContext: calls over what it returns go where those of
// Client go, with the same certificates.
func (c *Connection) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return c.gateway.dial(ctx)
}

// Done is closed by Close. A connection does not end by itself.
func (c *Connection) Done() <-chan struct{} { return c.done }

// Err is nil: a connection does not end by itself.
func (c *Connection) Err() error { return nil }

// Close ends the connection and waits for all that belongs to it. It may be called
// again, and returns nil.
func (c *Connection) Close() error {
	c.closeOnce.Do(func() {
		c.gateway.refuse()
		c.network.close()
		c.gateway.close()
		close(c.done)
	})
	<-c.done
	return nil
}
