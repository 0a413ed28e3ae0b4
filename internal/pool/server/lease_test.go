// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubembed/kubembed/internal/pool/protocol"
	"github.com/kubembed/kubembed/internal/testwait"
)

// Checkpoint is a call that waits for the end of the lease.
func (p *fake) Checkpoint(ctx context.Context) (protocol.Checkpoint, error) {
	<-ctx.Done()
	return protocol.Checkpoint{}, ctx.Err()
}

func (p *fake) Log(protocol.LogRequest) protocol.Log { return protocol.Log{First: 42} }

// program serves fakes at a socket.
type program struct {
	t      *testing.T
	fakes  *fakes
	socket string
	client *protocol.Client
	stop   context.CancelCauseFunc
	served chan error
}

func serve(t *testing.T, f *fakes) *program {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	p := &program{t: t, fakes: f, socket: socket, client: protocol.NewClient(socket), stop: stop, served: make(chan error, 1)}
	go func() {
		p.served <- Serve(ctx, Config{Listener: listener, Idle: time.Hour, Logger: newLogger(t), Start: f.start})
	}()
	t.Cleanup(func() {
		p.client.Close()
		stop(nil)
		p.ended()
	})
	return p
}

// ended waits for the end of Serve, when no control plane is left.
func (p *program) ended() {
	p.t.Helper()
	err := <-p.served
	p.served <- err
	if err != nil {
		p.t.Error(err)
	}
	if started, closed := p.fakes.counts(); started != closed {
		p.t.Errorf("%d were started, and %d closed", started, closed)
	}
}

// lease leases a control plane until ctx ends.
func (p *program) lease(ctx context.Context) (protocol.Lease, *json.Decoder) {
	p.t.Helper()
	response, err := p.client.Post(ctx, protocol.PathLeases, protocol.LeaseRequest{Owner: protocol.Owner{Test: "TestMine"}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = response.Body.Close() })
	events := json.NewDecoder(response.Body)
	var first protocol.Event
	if err := events.Decode(&first); err != nil || first.Lease == nil {
		p.t.Fatalf("%v: %+v", err, first)
	}
	return *first.Lease, events
}

func (p *program) status() protocol.Status {
	p.t.Helper()
	response, err := p.client.Get(p.t.Context(), protocol.PathStatus)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var s protocol.Status
	if err := json.NewDecoder(response.Body).Decode(&s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// states counts the control planes by state.
func (p *program) states() map[string]int {
	p.t.Helper()
	found := map[string]int{}
	for _, c := range p.status().ControlPlanes {
		found[c.State]++
	}
	return found
}

func (p *program) call(id, name string) (string, error) {
	p.t.Helper()
	response, err := p.client.Post(p.t.Context(), protocol.PathLeases+"/"+id+"/"+name, protocol.Nothing{})
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	return string(all), err
}

// TestClientVanishes: its lease ends while it waits, and while calls run, and the ID is
// of no use.
func TestClientVanishes(t *testing.T) {
	p := serve(t, &fakes{takes: time.Millisecond})
	ctx, vanish := context.WithCancel(t.Context())
	lease, _ := p.lease(ctx)
	if all, err := p.call(lease.ID, protocol.CallLog); err != nil || !strings.Contains(all, "42") {
		t.Errorf("%v: %s", err, all)
	}
	called := make(chan error, 1)
	go func() {
		_, err := p.call(lease.ID, protocol.CallCheckpoint)
		called <- err
	}()
	vanish()
	if err := <-called; err == nil {
		t.Error("a call went on after the lease")
	}
	testwait.True(t, "no lease", func() bool { return p.states()[protocol.StateLeased] == 0 })
	if _, err := p.call(lease.ID, protocol.CallLog); err == nil || !strings.Contains(err.Error(), errNoLease.Error()) {
		t.Errorf("a call of a former lease: %v", err)
	}
	again, _ := p.lease(t.Context())
	if again.ID == lease.ID || again.URL != lease.URL {
		t.Errorf("got %v after %v", again, lease)
	}
	if _, err := p.call(lease.ID, protocol.CallLog); err == nil {
		t.Error("a former ID is accepted in the next lease")
	}
}

// TestClientVanishesBeforeItsLease: the control plane goes to another one.
func TestClientVanishesBeforeItsLease(t *testing.T) {
	f := &fakes{held: make(chan struct{})}
	p := serve(t, f)
	ctx, vanish := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		response, err := p.client.Post(ctx, protocol.PathLeases, protocol.LeaseRequest{})
		if err == nil {
			_ = response.Body.Close()
		}
		asked <- err
	}()
	testwait.True(t, "a start", func() bool { return p.states()[protocol.StateComing] > 0 })
	vanish()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(f.held)
	next, _ := p.lease(t.Context())
	f.mu.Lock()
	defer f.mu.Unlock()
	if first := f.started[0].name; next.URL != first {
		t.Errorf("got %s, want the control plane that the first client has left, %s", next.URL, first)
	}
}

// TestPartFails: the client gets the reason, and the control plane is not used again.
func TestPartFails(t *testing.T) {
	f := &fakes{unfit: errors.New("it has stopped")}
	p := serve(t, f)
	lease, events := p.lease(t.Context())
	f.mu.Lock()
	for _, one := range f.started {
		if one.name == lease.URL {
			close(one.done)
		}
	}
	f.mu.Unlock()
	var last protocol.Event
	if err := events.Decode(&last); err != nil || last.Ended != "etcd has failed" {
		t.Errorf("%v: %+v", err, last)
	}
	testwait.True(t, "the stop", func() bool {
		_, closed := f.counts()
		return closed == 1
	})
}

// TestStop: leases end with the reason.
func TestStop(t *testing.T) {
	p := serve(t, &fakes{})
	_, events := p.lease(t.Context())
	response, err := p.client.Post(t.Context(), protocol.PathStop, protocol.Nothing{})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	var last protocol.Event
	if err := events.Decode(&last); err != nil || last.Ended != "the program controlplanes stops: controlplanes stop was run" {
		t.Errorf("%v: %+v", err, last)
	}
	p.ended()
}

// TestSignal: leases end with the signal as the reason.
func TestSignal(t *testing.T) {
	p := serve(t, &fakes{})
	_, events := p.lease(t.Context())
	p.stop(errors.New("terminated signal received"))
	var last protocol.Event
	if err := events.Decode(&last); err != nil || !strings.Contains(last.Ended, "terminated signal") {
		t.Errorf("%v: %+v", err, last)
	}
	p.ended()
}

// TestStopBeforeTheLease: the client sees the end of the connection, and can ask another
// program.
func TestStopBeforeTheLease(t *testing.T) {
	p := serve(t, &fakes{takes: time.Hour})
	asked := make(chan error, 1)
	go func() {
		response, err := p.client.Post(t.Context(), protocol.PathLeases, protocol.LeaseRequest{})
		if err == nil {
			_ = response.Body.Close()
		}
		asked <- err
	}()
	testwait.True(t, "a start", func() bool { return p.states()[protocol.StateComing] > 0 })
	p.stop(errIdle)
	if err := <-asked; err == nil {
		t.Error("the client got an answer")
	}
}

// TestHalfARequest: a client that does not send its request does not keep the program
// from stopping its control planes.
func TestHalfARequest(t *testing.T) {
	p := serve(t, &fakes{})
	conn, err := net.Dial("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: controlplanes\r\n%s: %s\r\nContent-Length: 1000\r\n\r\n{", protocol.PathLeases, protocol.HeaderVersion, protocol.Version); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "a control plane", func() bool { return p.states()[protocol.StateReady] > 0 })
	p.stop(errIdle)
	p.ended()
}

// TestIdle: the program ends after the last lease, not during it.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancelCause(t.Context())
		s := &server{config: Config{Idle: time.Hour}, ctx: ctx, stop: stop, leases: map[string]*lease{}}
		s.idle = time.AfterFunc(s.config.Idle, func() { stop(errIdle) })
		s.add("first", &lease{})
		s.add("second", &lease{})
		s.remove("first")
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if err := context.Cause(ctx); err != nil {
			t.Fatalf("it has ended with a lease: %v", err)
		}
		s.remove("second")
		time.Sleep(s.config.Idle - time.Nanosecond)
		synctest.Wait()
		if err := context.Cause(ctx); err != nil {
			t.Errorf("it has ended early: %v", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if err := context.Cause(ctx); !errors.Is(err, errIdle) {
			t.Errorf("it goes on without leases: %v", err)
		}
	})
}

// TestNoTests: a program that no test needs ends.
func TestNoTests(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakes{}
	if err := Serve(t.Context(), Config{Listener: listener, Idle: time.Millisecond, Logger: newLogger(t), Start: f.start}); err != nil {
		t.Error(err)
	}
	if started, closed := f.counts(); started != closed {
		t.Errorf("%d were started, and %d closed", started, closed)
	}
}

// TestVersion: the error names both versions.
func TestVersion(t *testing.T) {
	p := serve(t, &fakes{})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", p.socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://program"+protocol.PathLeases, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(protocol.HeaderVersion, "0")
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(string(all), `version \"0\" of the protocol, and the program \"1\"`) {
		t.Errorf("%v: %s: %s", err, response.Status, all)
	}
}

// TestUnknownOption: the program refuses what another version of the test asks for.
func TestUnknownOption(t *testing.T) {
	p := serve(t, &fakes{})
	response, err := p.client.Post(t.Context(), protocol.PathLeases, map[string]any{"Options": map[string]any{"Colour": "red"}})
	if err == nil {
		_ = response.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), `"Colour"`) || !strings.Contains(err.Error(), "use the same version of both modules") {
		t.Errorf("got %v, want the option and the cure", err)
	}
}
