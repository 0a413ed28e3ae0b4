// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
	etcdrestore "github.com/kubembed/kubembed/internal/etcd/restore"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/tempdir"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// startTimeout bounds every start. A start takes a fraction of a second, or seconds with
// a large data directory.
const startTimeout = 2 * time.Minute

var errStartTimeout = fmt.Errorf("not ready after %s", startTimeout)

// Start starts a control plane and returns when it is ready. Every readiness check is
// then green, the system namespaces and the RBAC bootstrap policy exist, pods can be
// created, and every component of Config.Components has called ready. The context bounds
// the start only, which takes at most two minutes. The control plane runs until Shutdown
// or Close.
//
// The error of a failed start names the cause and the remedy. A failed start leaves no
// goroutine, no listener and no temporary directory, with two exceptions: a component
// that ignores the end of its context, and a disk of DataDir that hangs. With such a disk
// Start returns half a minute after ctx has ended, and cleans up when the disk responds.
// Data that a durable start has written to DataDir stays.
//
// These errors are for errors.Is:
//
//   - etcd.ErrInUse, etcd.ErrCorrupt and etcd.ErrNewerVersion, for DataDir;
//   - etcd.ErrDataMissing and pki.ErrKeysMissing, for missing parts of DataDir;
//   - ErrUntrusted, if other users of the machine control DataDir;
//   - apiserver.ErrVersionSkew, if this release cannot follow the one that stored the
//     objects;
//   - etcd.ErrOtherMember and ErrRemoved, for a member of a cluster;
//   - etcd.ErrOtherCluster, for such a member, or objects that were stored under other
//     keys;
//   - etcd.ErrUnreachable, for Etcd.Endpoints;
//   - the cause of ctx when it ends.
//
// A fatal error of the Kubernetes code (klog.Fatal) and a panic also fail the start.
// After Start has returned, they stop the control plane, see Done.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Listener != nil {
		cfg.Listener = hostcall.Net{Field: "Config.Listener", Logger: cfg.Logger}.Listener(cfg.Listener)
	}
	if err := ctx.Err(); err != nil {
		if cfg.Listener != nil {
			_ = cfg.Listener.Close()
		}
		return nil, fmt.Errorf("controlplane: start: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errStartTimeout)
	defer cancel()
	ctx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	s := &Server{config: cfg.clone(), done: make(chan struct{}), supervised: make(chan struct{}), goroutines: lifecycle.NewGoroutineSet(), fatal: newFatal()}
	s.listener = s.config.Listener // a start that fails before listen closes it, too
	s.forget = containment.Watch(s.goroutines, func(err error) { s.fatal.give(err, abandon) })
	s.config.Logger, s.quietKlog, s.detachLogger, s.closeLog = queueLogger(s.config.Logger)
	s.teardown.push("the Logger", func() error { s.detachLogger(); return nil })
	s.teardown.push("goroutines", s.waitForAll)
	s.began = time.Now()
	s.logStarting()
	if err := s.startWithin(ctx); err != nil {
		// The error of an interrupted call may not name the interruption.
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return nil, fmt.Errorf("controlplane: start: %w", err)
	}
	go s.supervise()
	return s, nil
}

// startGrace is how long Start waits for the start to end after its ctx has ended. A
// start that takes longer is blocked by a disk that hangs.
const startGrace = 30 * time.Second

// startWithin starts the parts, and undoes a failed start. If a disk blocks the start, a
// goroutine stays to undo it when the disk responds.
func (s *Server) startWithin(ctx context.Context) error {
	started := make(chan error, 1)
	go func() {
		err := errGoexit
		defer func() { started <- err }()
		s.goroutines.Do(ctx, func() {
			_, err = containment.Call("the start", func() (struct{}, error) { return struct{}{}, s.explainSpace(s.start(ctx)) })
		})
	}()
	select {
	case err := <-started:
		return s.undo(ctx, err)
	case <-ctx.Done():
	}
	grace := time.NewTimer(startGrace)
	defer grace.Stop()
	select {
	case err := <-started:
		return s.undo(ctx, err)
	case <-grace.C:
	}
	s.logFailedStart(ctx, fieldpath.Errorf("the start has not ended after another %s: is the disk of %s hung? %w", startGrace, fieldpath.Name("Config.DataDir"), context.Cause(ctx)))
	go func() {
		s.logPanic(<-started)
		_ = s.unwindWithin(ctx, stopTimeout)
		_ = s.closeLog()
	}()
	return fieldpath.Errorf("the start has not ended after another %s, and is undone when it does: is the disk of %s (%s) hung?", startGrace, fieldpath.Name("Config.DataDir"), s.config.DataDir)
}

// errGoexit is the error of a start whose goroutine has called runtime.Goexit.
var errGoexit = errors.New("its goroutine has ended")

// undo undoes a start that failed with err. If err is nil it does nothing.
func (s *Server) undo(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s.logPanic(err)
	s.logFailedStart(ctx, err)
	if cleanup := s.unwindWithin(ctx, stopTimeout); cleanup != nil {
		s.config.Logger.Warn("cleanup after a failed start has failed", zap.Error(cleanup))
	}
	snapshots.RemoveEmpty(s.madeDirs)
	if blocked := s.closeLog(); blocked != nil {
		return fmt.Errorf("%w; %w", err, blocked)
	}
	return err
}

// checkOpenFiles is a variable for tests.
var checkOpenFiles = connlimit.Check

// start starts the parts, each on top of the previous one. Each pushes the step that
// stops it.
func (s *Server) start(ctx context.Context) error {
	if err := checkOpenFiles(); err != nil {
		return err
	}
	registerMetrics()
	if err := s.listen(); err != nil {
		return err
	}
	listener := s.listener
	if s.config.Listener != nil {
		listener = s.config.Listener // with the address of a Unix socket
	}
	s.measured = newMeasured(listener.Addr().String())
	s.measured.server.Store(s)
	if err := s.directories(ctx); err != nil {
		return err
	}
	if err := s.checkSnapshotDir(); err != nil {
		return err
	}
	// Before new keys exist, which a restore would refuse.
	if err := etcdrestore.CheckFinished(filepath.Join(s.dir, "etcd")); err != nil {
		return etcdError(err)
	}
	if err := s.checkKept(); err != nil {
		return err
	}
	if err := s.openPKI(); err != nil {
		return err
	}
	s.teardown.pushPart("the scheduled snapshot", func() error { return s.snapshots.Load().Wait() })
	if err := s.openStore(ctx); err != nil {
		return err
	}
	s.teardown.pushPart("etcd", s.etcd.Close)
	if err := s.openOverrides(ctx); err != nil {
		return err
	}
	if err := s.claimIdentity(ctx); err != nil {
		return err
	}
	if err := s.keepRecord(); err != nil {
		return err
	}
	if err := s.keepPorts(); err != nil {
		return err
	}
	// In their own set of goroutines: a component that does not end must not prevent the
	// wait for all others.
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

// Run starts a control plane and blocks until ctx ends or the control plane fails. When
// ctx ends, requests in flight have ten seconds to end, then they are cut. Run returns
// nil after a clean shutdown, and if ctx ends before the control plane is ready.
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

// listen binds the addresses. It comes first, so that a start with an address in use
// fails at once, and the port is known before certificates are made.
func (s *Server) listen() (err error) {
	kept := readPorts(s.config.DataDir)
	if insecure, errs := parseAddress("InsecureAddr", s.config.InsecureAddr); len(errs) == 0 && insecure.Port() == kept.Bind {
		kept.Bind = 0 // InsecureAddr names it
	}
	if s.config.Listener != nil {
		s.listener, err = s.hostListener()
	} else {
		s.listener, err = listenAgain("BindAddress", s.config.BindAddress, kept.Bind)
	}
	if err != nil {
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

// directories creates the directory of the control plane and locks it.
func (s *Server) directories(ctx context.Context) (err error) {
	if s.config.DataDir == "" {
		if err := s.makeTemporary(ctx); err != nil {
			return err
		}
		s.pushFiles()
		return nil
	}
	if s.dir, err = filepath.Abs(s.config.DataDir); err != nil {
		return fieldpath.New("", "Config.DataDir", "%w", err)
	}
	s.pushFiles()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fieldpath.New("", "Config.DataDir", "%w: choose a directory that this process can write to", err)
	}
	if err := s.lockDir(); err != nil {
		return err
	}
	if err := tempdir.Forget(s.dir); err != nil {
		return fieldpath.New("", "Config.DataDir", "%w", err)
	}
	return nil
}

// pushFiles pushes the step that undoes directories. It needs s.dir for the step's name.
func (s *Server) pushFiles() {
	s.teardown.pushPart("files of "+s.dir, func() error {
		return lifecycle.Within(filesTimeout, "is its disk hung?", s.removeFiles)
	})
}

func (s *Server) startAPIServer(ctx context.Context) error {
	// Upstream takes some certificates by file name. The directory is private, and is
	// removed with the server.
	s.runDir = filepath.Join(s.dir, "run")
	s.logUncleanStop()
	if err := os.RemoveAll(s.runDir); err != nil {
		return fieldpath.New("", "Config.DataDir", "%w", err)
	}
	if err := os.Mkdir(s.runDir, 0o700); err != nil {
		return fieldpath.New("", "Config.DataDir", "%w", err)
	}
	c := s.config.apiserver()
	_, c.ServiceCIDR, _ = net.ParseCIDR(s.config.ServiceCIDR) // validated
	c.Listener, c.InsecureListener = s.listener, s.insecure
	c.Client, c.Dial = s.etcd.Client(), s.etcd.DialContext
	c.PKI, c.Dir = s.pki, s.runDir
	access.SetAdopt(&c, s.goroutines.Adopt)
	access.SetComponents(&c, s.components.allNames())
	access.SetStarting(&c, ctx)
	access.SetMetricsName(&c, s.measured.name)
	c.Reserved, c.PrivateEndpoints = s.config.Hosts, s.config.Etcd.privateEndpoints()
	if s.member != nil {
		c.StorageUsed = s.member.Usage
	}
	for i, o := range s.config.Etcd.Overrides {
		c.EtcdOverrides = append(c.EtcdOverrides, apiserver.EtcdOverride{Resources: o.Resources, Client: s.overrides[i].Client()})
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
	s.teardown.pushPart("the API server", func() error {
		defer s.closeListeners()
		return server.Stop(s.teardown.drain)
	})
	s.measure()
	return nil
}
