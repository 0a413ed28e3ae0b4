package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	netutils "k8s.io/utils/net"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
	etcdrestore "github.com/kubembed/kubembed/internal/etcd/restore"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/tempdir"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// startTimeout bounds every start; a ctx can only make it shorter. A start takes
// a fraction of a second; one on a large data directory, seconds.
const startTimeout = 2 * time.Minute

var errStartTimeout = fmt.Errorf("not ready after %s", startTimeout)

// Start starts a control plane and returns when it is ready: every readiness
// check is green, the system namespaces and the RBAC bootstrap policy are
// there, the first pod can be created, and every component of
// Config.Components has said that it is ready. ctx bounds the start only, which
// may take two minutes at most; the control plane runs until Shutdown or Close.
//
// A failed start says what failed and what to change, and leaves no goroutine,
// no listener and no temporary directory, unless a component ignores that it has to
// end, or the disk of DataDir hangs: Start then returns half a minute after ctx has
// ended, and the rest ends when the disk answers. What a durable start had written to
// DataDir stays. For errors.Is: etcd.ErrInUse, etcd.ErrCorrupt and
// etcd.ErrNewerVersion, about DataDir; apiserver.ErrVersionSkew, where a release has stored
// the objects that this one cannot follow; etcd.ErrDataMissing and pki.ErrKeysMissing, for missing parts
// of it; ErrUntrusted, where other users of the machine control it; etcd.ErrOtherMember
// and ErrRemoved, about a member of a cluster; etcd.ErrOtherCluster, about that or about
// objects that were stored under other keys; etcd.ErrUnreachable, about Etcd.Endpoints;
// and the cause of ctx when it ends. A fatal error of the Kubernetes code (klog.Fatal),
// and a panic, is an error too. After Start has returned, it ends the control plane, see
// Done.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("controlplane: start: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errStartTimeout)
	defer cancel()
	ctx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	s := &Server{config: cfg.clone(), done: make(chan struct{}), supervised: make(chan struct{}), family: lifecycle.NewGoroutineSet(), fatal: newFatal()}
	s.forget = containment.Watch(s.family, func(err error) { s.fatal.give(err, abandon) })
	s.config.Logger, s.quietKlog, s.detachLogger, s.closeLog = queueLogger(s.config.Logger)
	s.teardown.push("the Logger", func() error { s.detachLogger(); return nil })
	s.teardown.push("goroutines", s.waitForAll)
	s.began = time.Now()
	s.logStarting()
	if err := s.startWithin(ctx); err != nil {
		// What a call says that was cut short is not always that it was.
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return nil, fmt.Errorf("controlplane: start: %w", err)
	}
	go s.supervise()
	return s, nil
}

// startGrace is how long a start may go on after its ctx has ended, to undo its work. One
// that takes longer is held by a disk that hangs, which no ctx ends.
const startGrace = 30 * time.Second

// startWithin starts the parts, and undoes its work if it fails. Where a disk holds it, a
// goroutine stays that does so when the disk answers.
func (s *Server) startWithin(ctx context.Context) error {
	started := make(chan error, 1)
	go func() {
		err := errGaveUp
		defer func() { started <- err }()
		s.family.Do(ctx, func() {
			_, err = containment.Call("the start", func() (struct{}, error) { return struct{}{}, s.explainSpace(s.start(ctx)) })
		})
	}()
	select {
	case err := <-started:
		return s.undo(ctx, err)
	case <-ctx.Done():
	}
	late := time.NewTimer(startGrace)
	defer late.Stop()
	select {
	case err := <-started:
		return s.undo(ctx, err)
	case <-late.C:
	}
	s.logFailedStart(ctx, fmt.Errorf("it has not ended %s later: does the disk of Config.DataDir hang? %w", startGrace, context.Cause(ctx)))
	go func() {
		s.logPanic(<-started)
		_ = s.unwindWithin(ctx, stopTimeout)
		_ = s.closeLog()
	}()
	return fmt.Errorf("it has not ended %s later, and is undone when it does: does the disk of Config.DataDir (%s) hang?", startGrace, s.config.DataDir)
}

// errGaveUp is of a start whose goroutine was ended from within, by runtime.Goexit.
var errGaveUp = errors.New("its goroutine was ended")

// undo undoes the work of a start that failed with err. Without err it does nothing.
func (s *Server) undo(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s.logPanic(err)
	s.logFailedStart(ctx, err)
	if cleanup := s.unwindWithin(ctx, stopTimeout); cleanup != nil {
		s.config.Logger.Warn("cleaning up after a failed start", zap.Error(cleanup))
	}
	snapshots.RemoveEmpty(s.madeDirs)
	if blocked := s.closeLog(); blocked != nil {
		return fmt.Errorf("%w; %w", err, blocked)
	}
	return err
}

// start starts the parts, each on top of the one before.
func (s *Server) start(ctx context.Context) error {
	if err := connlimit.Check(); err != nil {
		return err
	}
	registerMetrics()
	s.teardown.push("listeners", s.stopListeners)
	if err := s.listen(); err != nil {
		return err
	}
	s.measured = &measured{name: s.listener.Addr().String()}
	s.measured.server.Store(s)
	if err := s.directories(ctx); err != nil {
		return err
	}
	if err := s.checkSnapshotDir(); err != nil {
		return err
	}
	// Before there are keys that a restore would find to be others.
	if err := etcdrestore.CheckFinished(filepath.Join(s.dir, "etcd")); err != nil {
		return etcdError(err)
	}
	if err := s.checkKept(); err != nil {
		return err
	}
	if err := s.openPKI(); err != nil {
		return err
	}
	s.teardown.pushPart("the snapshot to Config.Snapshots.Dir", func() error { return s.snapshots.Load().Wait() })
	if err := s.openStore(ctx); err != nil {
		return err
	}
	s.teardown.pushPart("etcd", s.etcd.Close)
	if err := s.claimIdentity(ctx); err != nil {
		return err
	}
	if err := s.keepRecord(); err != nil {
		return err
	}
	if err := s.keepPorts(); err != nil {
		return err
	}
	// A family of their own: one that does not end must not keep us from waiting
	// for everything else.
	s.components = newComponents(s.config.Components, lifecycle.NewGoroutineSet(), s.config.Logger)
	if err := s.startAPIServer(ctx); err != nil {
		return err
	}
	if err := s.keepRelease(); err != nil {
		return err
	}
	if err := s.watchNodes(); err != nil {
		return err
	}
	if err := s.startElections(); err != nil {
		return err
	}
	s.teardown.pushPart("elections", func() error {
		return lifecycle.Within(electionsTimeout, "releasing Leases", func() error { s.elections.Stop(); return nil })
	})
	if err := s.startControllers(); err != nil {
		return err
	}
	s.teardown.pushPart("controllers", s.controllers.stop)
	if err := s.startComponents(); err != nil {
		return err
	}
	s.teardown.push("components", s.components.stop)
	if err := s.components.wait(ctx); err != nil {
		return err
	}
	if err := s.fatal.cause(); err != nil {
		return err
	}
	s.startSnapshots()
	s.startHealth()
	s.startSweep()
	s.logStarted()
	return nil
}

// Run starts a control plane and blocks until ctx ends or the control plane
// fails by itself. When ctx ends, requests in flight get ten seconds, then they
// are cut. It returns nil after a clean shutdown, and when ctx ends before the
// control plane is ready.
func Run(ctx context.Context, cfg Config) error {
	s, err := Start(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	select {
	case <-ctx.Done():
	case <-s.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return errors.Join(s.Err(), s.Shutdown(stopCtx))
}

// listen binds the addresses first: whoever wants one that is taken learns it
// at once, and the port is known before certificates are made.
func (s *Server) listen() (err error) {
	kept := readPorts(s.config.DataDir)
	if insecure, errs := parseAddress("InsecureAddr", s.config.InsecureAddr); len(errs) == 0 && insecure.Port() == kept.Bind {
		kept.Bind = 0 // it is named for the other one
	}
	if s.listener, err = listenAgain("BindAddress", s.config.BindAddress, kept.Bind); err != nil {
		return err
	}
	if s.config.InsecureAddr == "" {
		return nil
	}
	if s.insecure, err = listenAgain("InsecureAddr", s.config.InsecureAddr, kept.Insecure); err != nil {
		return err
	}
	s.config.Logger.Warn("INSECURE: plain HTTP is served, and everybody who can connect is an administrator",
		zap.String("field", "InsecureAddr"), zap.Stringer("address", s.insecure.Addr()))
	return nil
}

// directories makes the directory that everything lives in, and locks it.
func (s *Server) directories(ctx context.Context) (err error) {
	s.teardown.pushPart("files", func() error {
		return lifecycle.Within(filesTimeout, s.dir+": is its disk hung?", s.removeFiles)
	})
	if s.config.DataDir == "" {
		return s.makeTemporary(ctx)
	}
	if s.dir, err = filepath.Abs(s.config.DataDir); err != nil {
		return fmt.Errorf("Config.DataDir: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("Config.DataDir: %w: choose a directory that this process can write to", err)
	}
	if err := s.lockDir(); err != nil {
		return err
	}
	if err := tempdir.Forget(s.dir); err != nil {
		return fmt.Errorf("Config.DataDir: %w", err)
	}
	return nil
}

func (s *Server) openPKI() error {
	advertise, err := s.advertiseAddress()
	if err != nil {
		return err
	}
	s.advertise = advertise
	_, cidr, err := net.ParseCIDR(s.config.ServiceCIDR)
	if err != nil {
		return fmt.Errorf("Config.ServiceCIDR: %w", err)
	}
	serviceIP, err := netutils.GetIndexedIP(cidr, 1)
	if err != nil {
		return fmt.Errorf("Config.ServiceCIDR: %w", err)
	}
	hosts := append([]string{advertise.String()}, s.config.Hosts...)
	if bound := s.boundIP(); !bound.IsUnspecified() {
		hosts = append(hosts, bound.String())
	}
	s.serviceIP = serviceIP
	c := pki.Config{Hosts: hosts, ServiceIPs: []net.IP{serviceIP}, Import: s.config.PKI, EtcdMember: s.config.Etcd.memberHosts(), Clock: s.clock()}
	// etcd takes its certificates from files.
	if s.temporary == nil || len(c.EtcdMember) > 0 {
		c.Dir = s.pkiDir()
	}
	if s.pki, err = pki.Open(c); err != nil {
		return pkiError(err)
	}
	return nil
}

func (s *Server) boundIP() netip.Addr {
	return netip.MustParseAddrPort(s.listener.Addr().String()).Addr().Unmap()
}

// advertiseAddress is where others reach this control plane.
func (s *Server) advertiseAddress() (netip.Addr, error) {
	if s.config.AdvertiseAddress != "" {
		return netip.ParseAddr(s.config.AdvertiseAddress)
	}
	bound := s.boundIP()
	if !bound.IsUnspecified() {
		return bound, nil
	}
	ip, err := utilnet.ChooseHostInterface()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("Config.AdvertiseAddress: BindAddress is every address, and this machine has no default route to choose one by; set the address that workers use: %w", err)
	}
	addr, _ := netip.AddrFromSlice(ip)
	if addr = addr.Unmap(); bound.Is4() && !addr.Is4() {
		return netip.Addr{}, fmt.Errorf("Config.AdvertiseAddress: BindAddress is every IPv4 address, and the default route of this machine is of IPv6 (%s): set the address that workers use, or listen on [::]", addr)
	}
	return addr, nil
}

func (s *Server) startAPIServer(ctx context.Context) error {
	// Upstream takes some certificates by file name; the directory is private,
	// and goes with the server.
	s.runDir = filepath.Join(s.dir, "run")
	s.logUncleanStop()
	if err := os.RemoveAll(s.runDir); err != nil {
		return fmt.Errorf("Config.DataDir: %w", err)
	}
	if err := os.Mkdir(s.runDir, 0o700); err != nil {
		return fmt.Errorf("Config.DataDir: %w", err)
	}
	c := s.config.apiserver()
	_, c.ServiceCIDR, _ = net.ParseCIDR(s.config.ServiceCIDR) // validated
	c.Listener, c.InsecureListener = s.listener, s.insecure
	c.Client, c.Dial = s.etcd.Client(), s.etcd.DialContext
	c.PKI, c.Dir = s.pki, s.runDir
	access.SetAdopt(&c, s.family.Adopt)
	c.Reserved, c.PrivateEndpoints = s.config.Hosts, s.config.Etcd.privateEndpoints()
	if s.member != nil {
		c.StorageUsed = s.member.Usage
	}
	if s.config.AdvertiseAddress != "" || !s.advertise.IsLoopback() {
		c.AdvertiseAddress = s.advertise.AsSlice()
	}
	c.ReadyzChecks = append(s.components.checks(), s.spaceCheck(), s.dataCheck())
	c.Metrics = served{of: s.measured, etcd: s.member != nil}
	server, err := apiserver.New(c)
	if err != nil {
		return apiserverError(err)
	}
	if err := server.Start(ctx); err != nil {
		return apiserverError(err)
	}
	s.apiserver = struct {
		*apiserver.Server
		access.Internals
	}{server, access.Of(server)}
	s.teardown.pushPart("the API server", func() error { return server.Stop(s.teardown.drain) })
	s.measure()
	return nil
}
