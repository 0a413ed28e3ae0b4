// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package server gives tests control planes over a Unix socket. See package protocol.
package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// Config configures Serve.
type Config struct {
	// Listener accepts connections of one user.
	Listener net.Listener
	// Idle is the time without leases after which Serve returns.
	Idle time.Duration
	// Version and Kubernetes are for Status.
	Version, Kubernetes string
	Logger              *zap.Logger
	// Start starts the control planes.
	Start Start
}

// Start starts a control plane with options.
type Start func(ctx context.Context, options protocol.Options) (Plane, error)

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 1 << 20

// shutdownTimeout bounds the wait for requests under way. Leases have ended before.
const shutdownTimeout = 2 * time.Second

// stopTimeout bounds the stop of all control planes.
const stopTimeout = 30 * time.Second

type server struct {
	config Config
	began  time.Time
	pool   *pool
	ctx    context.Context // its cause is the reason of the stop
	stop   context.CancelCauseFunc

	mu     sync.Mutex
	leases map[string]*lease
	idle   *time.Timer // runs while there is no lease
}

// lease is a control plane that belongs to a connection.
type lease struct {
	plane Plane
	owner protocol.Owner
	since time.Time
	// ctx ends with the lease. Calls are the calls under way.
	ctx   context.Context
	calls lifecycle.Group
}

// Serve serves until ctx ends, a client asks for the stop, or no lease is left for
// Config.Idle. All control planes have stopped when it returns.
func Serve(ctx context.Context, cfg Config) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s := &server{config: cfg, began: time.Now(), ctx: ctx, stop: stop, leases: map[string]*lease{}}
	s.idle = time.AfterFunc(cfg.Idle, func() { stop(errIdle) })
	defer s.idle.Stop()
	s.pool = newPool(ctx, cfg.Logger, cfg.Start)
	s.pool.warm(protocol.Options{})
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+protocol.PathLeases, s.lease)
	mux.HandleFunc("POST "+protocol.PathLeases+"/{id}/{call}", s.call)
	mux.HandleFunc("GET "+protocol.PathStatus, s.status)
	mux.HandleFunc("POST "+protocol.PathStop, func(http.ResponseWriter, *http.Request) { stop(errStopAsked) })
	h := &http.Server{Handler: checkVersion(mux), ReadHeaderTimeout: time.Minute, ErrorLog: zap.NewStdLog(cfg.Logger)}
	served := make(chan error, 1)
	go func() { served <- h.Serve(cfg.Listener) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	stop(err) // leases end, and say why
	cfg.Logger.Info("the program stops", zap.NamedError("reason", context.Cause(ctx)))
	closing, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if h.Shutdown(closing) != nil { // a client does not send or read
		err = errors.Join(err, h.Close())
	}
	stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return errors.Join(err, s.pool.stop(stopping))
}

// checkVersion refuses clients with another version of the protocol.
func checkVersion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if version := r.Header.Get(protocol.HeaderVersion); version != protocol.Version {
			fail(w, http.StatusBadRequest, fmt.Errorf("the test has version %q of the protocol, and the program %q: use the same version of both modules", version, protocol.Version))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func fail(w http.ResponseWriter, status int, err error) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(protocol.Error{Message: err.Error()}) // the client is gone
}

// lease gives a control plane to a connection until it ends.
func (s *server) lease(w http.ResponseWriter, r *http.Request) {
	var request protocol.LeaseRequest
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	body.DisallowUnknownFields() // nothing that the test asks for is left out
	if err := body.Decode(&request); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("the program controlplanes does not know the request: %w: use the same version of both modules", err))
		return
	}
	id, l := rand.Text(), &lease{owner: request.Owner, since: time.Now()}
	s.add(id, l)
	defer s.remove(id)
	events := json.NewEncoder(w)
	send := func(event protocol.Event) {
		_ = events.Encode(event) // the connection's end ends the lease
		_ = http.NewResponseController(w).Flush()
	}
	waiting, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errStopping) })()
	pl, group, err := s.pool.lease(waiting, request.Options)
	if errors.Is(err, errStopping) {
		// The client sees the end of the connection, and starts another program.
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		send(protocol.Event{Refused: err.Error()})
		return
	}
	var end context.CancelFunc
	l.ctx, end = context.WithCancel(r.Context())
	defer end()
	granted := pl.Begin(id)
	s.mu.Lock()
	l.plane = pl
	s.mu.Unlock()
	defer func() {
		end()
		pl.End()
		waiting, cancel := context.WithTimeout(context.Background(), resetTimeout)
		defer cancel()
		if err := l.calls.Wait(waiting); err != nil {
			s.pool.forsake(group, pl, fmt.Errorf("a call does not end: %w", err))
			return
		}
		s.pool.release(group, pl)
	}()
	send(protocol.Event{Lease: &granted})
	select {
	case <-r.Context().Done():
	case <-pl.Done():
		reason := "it was stopped"
		if err := pl.Err(); err != nil {
			reason = err.Error()
		}
		send(protocol.Event{Ended: reason})
	case <-s.ctx.Done():
		send(protocol.Event{Ended: fmt.Sprintf("%v: %v", errStopping, context.Cause(s.ctx))})
	}
}

func (s *server) add(id string, l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[id] = l
	s.idle.Stop()
}

func (s *server) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, id)
	if len(s.leases) == 0 {
		s.idle.Reset(s.config.Idle)
	}
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	status := protocol.Status{
		PID: os.Getpid(), Version: s.config.Version, Kubernetes: s.config.Kubernetes, Since: s.began,
		Memory: memory.Sys - memory.HeapReleased, Live: live[0].Value.Uint64(), Goroutines: runtime.NumGoroutine(),
	}
	s.mu.Lock()
	for _, l := range s.leases {
		if l.plane != nil {
			owner := l.owner
			status.ControlPlanes = append(status.ControlPlanes, protocol.ControlPlane{State: protocol.StateLeased, Since: l.since, Leases: l.plane.Leases(), URL: l.plane.URL(), Owner: &owner})
		}
	}
	s.mu.Unlock()
	s.pool.status(&status)
	_ = json.NewEncoder(w).Encode(status) // the client is gone
}

var (
	errNoLease   = errors.New("the lease has ended")
	errIdle      = errors.New("no test has needed it")
	errStopAsked = errors.New("controlplanes stop was run")
)
