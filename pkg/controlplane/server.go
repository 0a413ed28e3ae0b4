package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/controlplane/election"
	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/tempdir"
	"github.com/kubembed/kubembed/pkg/pki"
)

// shutdownTimeout is how long Run lets requests in flight finish.
const shutdownTimeout = 10 * time.Second

// Server is a running control plane. Its methods are safe for concurrent use.
type Server struct {
	config    Config
	dir       string
	runDir    string
	temporary *tempdir.Dir // dir, where that is temporary, or nil

	quietKlog          func()       // for the stop
	detachLogger       func()       // from klog
	closeLog           func() error // waits for Config.Logger
	family             *lifecycle.GoroutineSet
	fatal              *fatal
	forget             func() // ends the watch of family for fatal errors
	listener, insecure net.Listener
	advertise          netip.Addr
	serviceIP          net.IP        // of the Service kubernetes
	lock               *dirlock.Lock // of DataDir
	etcd               store
	member             etcdMember // etcd, if that is in this process
	pki                *pki.PKI
	record             *record // of DataDir, as the start found it, or nil, until it keeps its own
	hadData            bool    // DataDir had a member's data
	newKeys            bool    // DataDir had no keys
	apiserver          apiServer
	elections          *election.Elections // nil unless etcd is shared
	controllers        *components         // our own
	components         *components         // the host's
	snapshots          atomic.Pointer[snapshots.Schedule]
	madeDirs           []string // by checkSnapshotDir
	health             *health
	began              time.Time // the start
	measured           *measured

	stopOnce sync.Once
	stopErr  error
	teardown teardown
	done     chan struct{}
	// supervised is closed when supervise has returned.
	supervised chan struct{}

	mu      sync.Mutex
	stopped bool // by Shutdown or Close
	err     error
}

// ClientConfig returns a client configuration for an administrator (user
// kubernetes-admin in group system:masters), with what envtest's has: Host, CA, a
// client certificate and its key. There is no client-side rate limit.
//
// In this process requests are handed to the API server without socket or TLS; exec,
// attach and port-forward, which need a connection of their own, go over TLS. A copy
// with another Host, TLSClientConfig, Dial, Proxy or Transport, or with other
// credentials, is obeyed, over the network, as with any other server: with the
// certificate of jane it is jane, and without credentials anonymous. Credentials in a
// header (BearerToken, Username) take precedence over the certificate.
//
// The certificate cannot be revoked. It is valid for a year at most, and for four
// months at least (or as long as the CA), from the call on, and a kubeconfig made from it
// as long. Only copies, exec and port-forward depend on it. Each call returns a new copy.
func (s *Server) ClientConfig() *rest.Config { return s.apiserver.ClientConfig() }

// URL is where the control plane serves HTTPS, under the advertised address.
func (s *Server) URL() string {
	return "https://" + net.JoinHostPort(s.advertise.String(), port(s.listener))
}

// InsecureURL is where this machine reaches the plain HTTP listener, or empty.
// Unlike URL it has a loopback address where InsecureAddr is every address.
func (s *Server) InsecureURL() string { return s.apiserver.InsecureURL() }

// CABundle returns the PEM certificates by which clients know the server.
func (s *Server) CABundle() []byte { return s.pki.CABundle() }

// Done is closed when the control plane has stopped: after Shutdown or Close,
// or by itself when its etcd, a listener or a component failed.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the control plane stopped by itself. It is nil while it runs
// and after Shutdown or Close.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Shutdown stops the control plane. Requests in flight are answered as long as
// ctx allows; watches are closed, not awaited. The order is: components,
// controllers, API server, etcd, files, and the last lines for Config.Logger, which
// has two seconds for each. A component gets ten seconds to end; one
// that does not is named in the error. A temporary directory is removed. A ctx that never ends
// waits for the slowest request, Config.RequestTimeout at most. The error says
// what could not be stopped; the rest is stopped nevertheless. Later calls, and
// those of Close, wait for the first and return its error.
//
// Whatever hangs, Shutdown returns a minute and a half after ctx has ended or
// RequestTimeout has passed, at the latest: a write to a disk that hangs cannot be
// called off. The error then names the part that has not ended, and DataDir is in use
// until it has.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	err := s.stop(ctx)
	// It may write certificates to a disk that hangs.
	late := time.NewTimer(supervisorTimeout)
	defer late.Stop()
	select {
	case <-s.supervised:
	case <-late.C:
		err = errors.Join(err, fmt.Errorf("controlplane: stop: the renewal of certificates in %s has not ended: is its disk hung?", s.dir))
	}
	return err
}

// Close is Shutdown that cuts requests in flight. It takes some milliseconds, and where
// a disk hangs under it a minute and a half at most.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.Shutdown(ctx)
}

// supervise renews certificates, and ends the control plane when a part of it
// ends by itself.
func (s *Server) supervise() {
	defer close(s.supervised)
	var certificates renewal
	s.renewWhenDue(&certificates)
	minute := s.clock().NewTicker(clockInterval)
	defer minute.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-minute.C():
			s.renewWhenDue(&certificates)
			continue
		case <-s.etcd.Done():
			s.fail(fmt.Errorf("controlplane: etcd stopped: %w", etcdError(s.etcd.Err())))
		case <-s.apiserver.Failed():
			s.fail(fmt.Errorf("controlplane: %w", s.apiserver.Err()))
		case <-s.fatal.given:
			s.fail(fmt.Errorf("controlplane: %w", s.fatal.err))
		case <-s.controllers.failed:
			s.fail(fmt.Errorf("controlplane: %w", s.controllers.failure))
		case <-s.components.failed:
			s.fail(fmt.Errorf("controlplane: %w", s.components.failure))
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.stop(ctx)
		return
	}
}

func (s *Server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.err = err
	}
}

func port(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}
