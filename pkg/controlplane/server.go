// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/controllers"
	"github.com/kubembed/kubembed/internal/controlplane/election"
	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/tempdir"
	"github.com/kubembed/kubembed/pkg/pki"
)

// shutdownTimeout is the time that Run gives requests in flight.
const shutdownTimeout = 10 * time.Second

// Server is a running control plane. Its methods are safe for concurrent use.
type Server struct {
	config    Config
	dir       string
	runDir    string
	temporary *tempdir.Dir // dir, where that is temporary, or nil

	quietKlog          func()       // called when a stop begins
	detachLogger       func()       // detaches Config.Logger from klog
	closeLog           func() error // waits for Config.Logger
	goroutines         *lifecycle.GoroutineSet
	fatal              *fatal
	forget             func() // stops watching goroutines for fatal errors
	listener, insecure net.Listener
	advertise          netip.Addr
	serviceIP          net.IP        // of the Service kubernetes
	lock               *dirlock.Lock // of DataDir
	etcd               store
	overrides          []store    // of Config.Etcd.Overrides
	member             etcdMember // etcd, if that is in this process
	pki                *pki.PKI
	record             *record // of DataDir: the one before this start, or nil, then this start's
	hadData            bool    // DataDir had etcd data before this start
	newKeys            bool    // DataDir had no keys before this start
	apiserver          apiServer
	elections          *election.Elections // nil unless etcd is shared
	controllers        *components         // our own
	syncs              controllers.Syncs   // of our own
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

// ClientConfig returns a client configuration for an administrator (user kubernetes-admin
// in group system:masters). Like envtest's, it has Host, CA, a client certificate and its
// key. It has no client-side rate limit.
//
// Requests go to the API server in this process, without socket and TLS. Exec, attach and
// port-forward need a connection of their own and use TLS. A copy may have another Host,
// TLSClientConfig, Dial, Proxy or Transport, or other credentials: its requests go over
// the network, as with any other server. With the certificate of jane the user is jane,
// and without credentials anonymous. Credentials in a header (BearerToken, Username) take
// precedence over the certificate.
//
// The certificate cannot be revoked. It is valid for at most a year after the call, and
// at least four months or as long as the CA. Only copies, kubeconfigs, exec and
// port-forward depend on it. Each call returns a new copy.
func (s *Server) ClientConfig() *rest.Config { return s.apiserver.ClientConfig() }

// URL returns the HTTPS URL of the control plane at the advertised address.
func (s *Server) URL() string {
	return "https://" + net.JoinHostPort(s.advertise.String(), port(s.listener))
}

// InsecureURL returns the URL of the plain HTTP listener for clients on this machine, or
// "". If InsecureAddr is every address, it has a loopback address.
func (s *Server) InsecureURL() string { return s.apiserver.InsecureURL() }

// CABundle returns the PEM certificates that clients verify the server with.
func (s *Server) CABundle() []byte { return s.apiserver.CABundle() }

// Handler returns the control plane as a handler, for a server of the host's. See
// [apiserver.Server.Handler].
func (s *Server) Handler() http.Handler { return s.apiserver.Handler() }

// Done returns a channel that is closed when the control plane has stopped: after
// Shutdown or Close, or after its etcd, a listener or a component has failed.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns the failure that has stopped the control plane. It is nil while the control
// plane runs, and after Shutdown or Close.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Shutdown stops the control plane: components, controllers, API server, etcd, files,
// then the last lines for Config.Logger. Requests in flight may end until ctx ends, at
// most for Config.RequestTimeout. Watches are closed. A component has ten seconds to
// return, and the Logger two seconds for each line. A temporary directory is removed.
//
// The error names the parts that could not be stopped. All others are stopped. Later
// calls, also of Close, wait for the first call and return its error.
//
// Shutdown returns at the latest a minute and a half after ctx has ended or
// RequestTimeout has passed, even if a disk hangs. The error then names the part that is
// still running, and DataDir is in use until that has ended.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	err := s.stop(ctx)
	// It may be writing certificates to a disk that hangs.
	timeout := time.NewTimer(supervisorTimeout)
	defer timeout.Stop()
	select {
	case <-s.supervised:
	case <-timeout.C:
		err = errors.Join(err, fmt.Errorf("controlplane: stop: the renewal of certificates in %s has not ended: is its disk hung?", s.dir))
	}
	return err
}

// Close is Shutdown without waiting for requests in flight. It takes some milliseconds,
// and at most a minute and a half if a disk hangs.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.Shutdown(ctx)
}

// supervise renews certificates, and stops the control plane when a part of it fails.
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
