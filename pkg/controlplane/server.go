package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/folderlock"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/pki"
)

// shutdownTimeout is how long Run lets requests in flight finish.
const shutdownTimeout = 10 * time.Second

// Server is a running control plane. Its methods are safe for concurrent use.
type Server struct {
	config    Config
	dir       string
	runDir    string
	temporary bool

	detachLogger       func()
	family             *lifecycle.Family
	listener, insecure net.Listener
	advertise          netip.Addr
	serviceIP          net.IP           // of the Service kubernetes
	lock               *folderlock.Lock // of DataDir
	etcd               store
	member             etcdMember // etcd, if that is in this process
	pki                *pki.PKI
	apiserver          apiServer
	elections          *elections  // nil unless etcd is shared
	controllers        *components // our own
	components         *components // the host's
	snapshots          *schedule

	stopOnce sync.Once
	stopErr  error
	done     chan struct{}
	// supervised is closed when supervise has returned.
	supervised chan struct{}

	mu      sync.Mutex
	stopped bool // by Shutdown or Close
	err     error
}

// ClientConfig returns a client configuration for an administrator (user
// kubernetes-admin in group system:masters). It works in this process only:
// requests are handed to the API server without socket or TLS, and those that
// need a connection of their own (exec, attach, port-forward) go over TLS.
// There is no client-side rate limit. Each call returns a new copy.
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

// Kubeconfig returns a kubeconfig file for user in groups, with a client
// certificate of its own that is valid for a year, or as long as the CA if that
// is shorter, and cannot be revoked. It connects over TLS to URL. Kubeconfig("admin", "system:masters") may do everything.
func (s *Server) Kubeconfig(user string, groups ...string) ([]byte, error) {
	pair, err := s.pki.IssueClient(user, groups, 0)
	if err != nil {
		return nil, fmt.Errorf("controlplane: kubeconfig: %w", err)
	}
	return s.kubeconfig(user, pair)
}

// NodeKubeconfig returns a kubeconfig file for the kubelet of the node that is
// called name. It may do what a kubelet needs, for that node and the pods on
// it. Its certificate is valid for a year. A name that is no DNS subdomain is an
// error.
func (s *Server) NodeKubeconfig(name string) ([]byte, error) {
	pair, err := s.pki.IssueNode(name, 0)
	if err != nil {
		return nil, fmt.Errorf("controlplane: node kubeconfig: %w", err)
	}
	return s.kubeconfig("system:node:"+name, pair)
}

func (s *Server) kubeconfig(user string, pair pki.KeyPair) ([]byte, error) {
	data, err := clientcmd.Write(*pki.Kubeconfig(s.URL(), s.pki.CABundle(), user, pair))
	if err != nil {
		return nil, fmt.Errorf("controlplane: kubeconfig: %w", err)
	}
	return data, nil
}

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
// controllers, API server, etcd, files. A component gets ten seconds to end; one
// that does not is named in the error. A temporary folder is removed. A ctx that never ends
// waits for the slowest request, Config.RequestTimeout at most. The error says
// what could not be stopped; the rest is stopped nevertheless. Later calls, and
// those of Close, wait for the first and return its error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	err := s.stop(ctx)
	<-s.supervised
	return err
}

// Close is Shutdown that cuts requests in flight.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.Shutdown(ctx)
}

func (s *Server) stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		s.stopErr = s.unwind(ctx)
		close(s.done)
	})
	return s.stopErr
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
			s.fail(fmt.Errorf("controlplane: etcd stopped: %w", s.etcd.Err()))
		case <-s.apiserver.Failed():
			s.fail(fmt.Errorf("controlplane: %w", s.apiserver.Err()))
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

// unwind stops what has been started, last first.
func (s *Server) unwind(ctx context.Context) error {
	var errs []error
	// Those whose goroutines may never end are not waited for any longer.
	var deaf, stuck bool
	s.snapshots.stop()
	s.unmonitor()
	if err := s.components.stop(); err != nil {
		deaf = true
		errs = append(errs, err)
	}
	if err := s.controllers.stop(); err != nil {
		stuck = true
		errs = append(errs, err)
	}
	s.elections.stop()
	if s.apiserver != nil {
		errs = append(errs, s.apiserver.Stop(ctx))
	}
	for _, listener := range []net.Listener{s.listener, s.insecure} {
		// The API server has closed them, if it got so far.
		if listener != nil {
			_ = listener.Close()
		}
	}
	if s.etcd != nil {
		err := s.etcd.Close()
		stuck = stuck || err != nil
		errs = append(errs, err)
	}
	switch {
	case s.temporary:
		errs = append(errs, os.RemoveAll(s.dir))
	case s.runDir != "":
		errs = append(errs, os.RemoveAll(s.runDir))
	}
	if s.lock != nil {
		s.lock.Unlock()
	}
	if s.components != nil && !deaf {
		s.waitForGoroutines(s.components.family)
	}
	if !stuck {
		s.waitForGoroutines(s.family)
	}
	s.detachLogger()
	return errors.Join(errs...)
}

// stragglersTimeout is how long a stop waits for upstream's goroutines. They
// have been told to stop, and end within milliseconds.
const stragglersTimeout = 5 * time.Second

// selfEnding are goroutines that nothing here can stop.
var selfEnding = []string{
	// A timer of three seconds for each list at a resource version.
	"cacher.(*watchCache).waitUntilFreshAndBlock",
	// Connections to webhooks, kept by client-go until they are idle for 90 s.
	"net/http.(*persistConn).readLoop",
	"net/http.(*persistConn).writeLoop",
	"http2.(*ClientConn).readLoop",
	"net/http.(*http2ClientConn).readLoop",
	// Connections of other members, on which they have asked single questions. etcd
	// ends them when nothing has been read for five seconds.
	"net/http.(*connReader).abortPendingRead",
	"net/http.(*connReader).backgroundRead",
	// The rotation of audit logs has one goroutine, for ever.
	"lumberjack.v2.(*Logger).millRun",
}

// waitForGoroutines keeps the promise that nothing of a stopped control plane
// runs or logs any more: upstream's controllers are told to stop, but give no
// way to wait for them.
func (s *Server) waitForGoroutines(family *lifecycle.Family) {
	ctx, cancel := context.WithTimeout(context.Background(), stragglersTimeout)
	defer cancel()
	if err := family.Wait(ctx, selfEnding...); err != nil {
		s.config.Logger.Warn("stopped, but not all of it has ended", zap.Error(err))
	}
}

func port(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}
