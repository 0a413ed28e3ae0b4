// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed is a system with its own limit, in which nothing else is open.
type fixed struct {
	files  atomic.Int64
	budget *Budget
}

func (f *fixed) limit() int        { return int(f.files.Load()) }
func (f *fixed) open() (int, bool) { return f.budget.total(), true } // under the budget's lock

// budgetOf returns a budget for capacity connections.
func budgetOf(capacity int) (*Budget, *fixed) {
	system := &fixed{}
	system.files.Store(int64(capacity + capacity/2))
	system.budget = newBudget(system)
	system.budget.grace, system.budget.silentGrace = 0, 0
	return system.budget, system
}

// server accepts connections in the order in which clients make them.
type server struct {
	t        *testing.T
	listener *Listener
	accepted chan *Conn
}

func serve(t *testing.T, b *Budget, options Options) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t, b.Listener(l, options), make(chan *Conn, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.accepted <- conn.(*Conn)
		}
	}()
	t.Cleanup(func() {
		_ = s.listener.Close()
		<-done
		for len(s.accepted) > 0 {
			_ = (<-s.accepted).Close()
		}
	})
	return s
}

// pair is both ends of a connection.
type pair struct {
	client net.Conn
	server *Conn
}

func (s *server) connect() pair {
	s.t.Helper()
	client, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	select {
	case conn := <-s.accepted:
		s.t.Cleanup(func() { _ = client.Close(); _ = conn.Close() })
		return pair{client, conn}
	case <-time.After(10 * time.Second):
		s.t.Fatal("the connection was not accepted")
		return pair{}
	}
}

// refused connects and waits until the server has closed the connection.
func (s *server) refused() {
	s.t.Helper()
	client, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := client.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		s.t.Errorf("the connection was not refused: %v", err)
	}
}

func (s *server) known(class Class, name string) pair {
	s.t.Helper()
	p := s.connect()
	p.server.Authenticated(class, name)
	return p
}

func (s *server) busy(class Class, name string) pair {
	s.t.Helper()
	p := s.known(class, name)
	p.server.Begin()
	return p
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// isOpen sends a byte from the server's end to the client's.
func (p pair) isOpen() bool {
	if _, err := p.server.Conn.Write([]byte{1}); err != nil {
		return false
	}
	_ = p.client.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := io.ReadFull(p.client, make([]byte, 1))
	return err == nil
}

func want(t *testing.T, what string, p pair, open bool) {
	t.Helper()
	if is := p.isOpen(); is != open {
		t.Errorf("%s: got open %v, want %v", what, is, open)
	}
}

func TestOldestUnauthenticatedGoesFirst(t *testing.T) {
	b, _ := budgetOf(16)
	s := serve(t, b, Options{Name: "https"})
	var all []pair
	for range 40 {
		all = append(all, s.connect())
	}
	for i, p := range all {
		want(t, fmt.Sprint("connection ", i), p, i >= 40-16)
	}
	stats := b.Stats()
	if stats.Open != 16 || stats.Capacity != 16 || stats.Closed[Closed{"https", Unauthenticated}] != 24 {
		t.Errorf("got stats %+v", stats)
	}
}

// TestKnownClientsStay: any number of unauthenticated connections leaves authenticated
// ones open.
func TestKnownClientsStay(t *testing.T) {
	b, _ := budgetOf(16)
	s := serve(t, b, Options{})
	kept := map[string]pair{
		"an idle user":   s.known(User, "alice"),
		"a busy user":    s.busy(User, "bob"),
		"an idle admin":  s.known(Admin, "admin"),
		"a guest":        s.known(Guest, "system:bootstrap:abcdef"),
		"a member":       s.known(Peer, "etcd"),
		"the same admin": s.known(Admin, "admin"),
	}
	for range 60 {
		s.connect()
	}
	for what, p := range kept {
		want(t, what, p, true)
	}
}

// TestClientsAreClosedInOrder fills the budget with clients, and connects more.
func TestClientsAreClosedInOrder(t *testing.T) {
	b, _ := budgetOf(16)
	s := serve(t, b, Options{Name: "https"})
	member := s.known(Peer, "etcd")
	admin := s.busy(Admin, "admin")
	firstNode, secondNode := s.busy(User, "node"), s.busy(User, "node")
	alice := s.busy(User, "alice")
	idleAdmin := s.known(Admin, "admin")
	bob, oldCarol, newCarol := s.known(User, "bob"), s.known(User, "carol"), s.known(User, "carol")
	busyGuest := s.busy(Guest, "guest")
	idleGuest := s.known(Guest, "guest")
	var fillers []pair // as many as may be unauthenticated
	for range b.newcomers() {
		fillers = append(fillers, s.connect())
	}
	for stats := b.Stats(); stats.Open < stats.Capacity; stats = b.Stats() {
		s.known(Peer, "etcd")
	}
	// Each new connection authenticates at once, so there is never an excess of
	// unauthenticated ones.
	for i, next := range []struct {
		what string
		gone pair
	}{
		{"the idle guest", idleGuest},
		{"the busy guest", busyGuest},
		// The administrator has two connections, one of them busy.
		{"of the clients that have most, the one that has been idle longest", idleAdmin},
		{"of the client that has most, the one that has been idle longest", oldCarol},
		{"the one that has been idle longest", bob},
		{"the last idle one", newCarol},
		{"the newest of the client that has most", secondNode},
	} {
		s.busy(Peer, "etcd")
		want(t, fmt.Sprint(i, ": ", next.what), next.gone, false)
	}
	want(t, "its older one", firstNode, true)
	s.busy(Peer, "etcd")
	want(t, "the newest", alice, false)
	s.busy(Peer, "etcd")
	want(t, "the last that may be closed", firstNode, false)
	for i, p := range fillers {
		want(t, fmt.Sprint("unauthenticated connection ", i), p, true)
	}
	for range fillers {
		s.busy(Peer, "etcd")
	}
	for i, p := range fillers {
		want(t, fmt.Sprint("unauthenticated connection ", i), p, false)
	}
	s.refused()
	want(t, "the busy administrator", admin, true)
	want(t, "the member", member, true)
	closed := b.Stats().Closed
	for client, number := range map[Client]uint64{Unprivileged: 2, Idle: 4, Busy: 3, Unauthenticated: uint64(len(fillers)), Refused: 1} {
		if closed[Closed{"https", client}] != number {
			t.Errorf("%s: got %d closed, want %d", client, closed[Closed{"https", client}], number)
		}
	}
}

// TestNewClientGetsIn: another client holds all the connections that it can get.
func TestNewClientGetsIn(t *testing.T) {
	b, _ := budgetOf(24)
	s := serve(t, b, Options{})
	for range 100 {
		s.busy(User, "node")
	}
	admin := s.busy(Admin, "admin")
	for range 100 {
		s.busy(User, "node")
	}
	want(t, "the administrator", admin, true)
}

// TestClientsWithoutAuthenticationAreGuests: on a listener without authentication every
// client is an administrator.
func TestClientsWithoutAuthenticationAreGuests(t *testing.T) {
	b, _ := budgetOf(16)
	secure, insecure := serve(t, b, Options{}), serve(t, b, Options{NoAuthentication: true})
	user := secure.known(User, "alice")
	for range 60 {
		insecure.busy(Admin, "anybody")
	}
	want(t, "the user of the other listener", user, true)
	want(t, "who comes there", secure.connect(), true)
}

// TestFloodOfOneListener: connections to another listener keep their time to
// authenticate.
func TestFloodOfOneListener(t *testing.T) {
	b, _ := budgetOf(16)
	public, peers := serve(t, b, Options{}), serve(t, b, Options{})
	member := peers.connect()
	for range 60 {
		public.connect()
	}
	want(t, "the member in its handshake", member, true)
}

// TestUnauthenticatedHaveGrace: one connection too many waits.
func TestUnauthenticatedHaveGrace(t *testing.T) {
	b, _ := budgetOf(8)
	b.grace, b.silentGrace = time.Hour, time.Hour
	s := serve(t, b, Options{})
	var all []pair
	for range 8 {
		all = append(all, s.connect())
	}
	waiting, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = waiting.Close() }()
	all[3].server.Authenticated(User, "alice")
	for _, p := range all {
		want(t, "a connection within its time", p, true)
	}
	_ = all[5].server.Close()
	select {
	case conn := <-s.accepted:
		_ = conn.Close()
	case <-time.After(10 * time.Second):
		t.Error("there is room, but the next connection is not accepted")
	}
}

// TestCloseEndsTheWait: a listener that waits for room can be closed.
func TestCloseEndsTheWait(t *testing.T) {
	b, _ := budgetOf(8)
	b.grace, b.silentGrace = time.Hour, time.Hour
	s := serve(t, b, Options{})
	for range 8 {
		s.connect()
	}
	waiting, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = waiting.Close() }()
	// The end of the test waits for Accept to return.
}

// TestLimitIsReadAgain: the host raises the limit, and opens files.
func TestLimitIsReadAgain(t *testing.T) {
	b, system := budgetOf(16)
	s := serve(t, b, Options{})
	var all []pair
	for range 16 {
		all = append(all, s.connect())
	}
	system.files.Store(300)
	b.outdate()
	for range 16 {
		s.connect()
	}
	for i, p := range all {
		want(t, fmt.Sprint("connection ", i), p, true)
	}
	system.files.Store(24)
	b.outdate()
	b.check()
	if stats := b.Stats(); stats.Open != 16 {
		t.Errorf("after the limit was lowered: got %+v", stats)
	}
}

// outdate makes the next measurement due.
func (b *Budget) outdate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.measured = time.Time{}
}

func TestCapacity(t *testing.T) {
	for _, c := range []struct{ limit, others, want int }{
		{256, 20, 158},
		{1024, 20, 804},
		{4096, 100, 3796},
		{1 << 20, 1000, 1<<20 - 1200},
		{64, 20, 30},
		{24, 20, minCapacity},
		{100, 200, minCapacity}, // lowered since
	} {
		b := newBudget(numbers{c.limit, c.others})
		if got := b.Stats().Capacity; got != c.want {
			t.Errorf("limit %d, %d open: got %d connections, want %d", c.limit, c.others, got, c.want)
		}
	}
}

type numbers struct{ files, used int }

func (n numbers) limit() int        { return n.files }
func (n numbers) open() (int, bool) { return n.used, true }

// failing fails to accept the given number of times.
type failing struct {
	net.Listener
	err   error
	times atomic.Int32
}

func (f *failing) Accept() (net.Conn, error) {
	if f.times.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: f.err}
	}
	return f.Listener.Accept()
}

// TestAcceptGoesOn: the process has no descriptor left, and Accept makes room.
func TestAcceptGoesOn(t *testing.T) {
	b, _ := budgetOf(1000)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failing{Listener: l, err: errTooMany}
	s := &server{t, b.Listener(f, Options{Name: "https"}), make(chan *Conn, 100)}
	accept := func() {
		conn, err := s.listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s.accepted <- conn.(*Conn)
	}
	var all []pair
	for range 30 {
		done := make(chan struct{})
		go func() { defer close(done); accept() }()
		all = append(all, s.connect())
		<-done
	}
	known := all[0]
	known.server.Authenticated(User, "alice")
	f.times.Store(2)
	done := make(chan struct{})
	go func() { defer close(done); accept() }()
	s.connect()
	<-done
	want(t, "an authenticated client", known, true)
	want(t, "the oldest unauthenticated connection", all[1], false)
	if f.times.Store(1); f.times.Load() != 1 {
		t.Fatal("not armed")
	}
	f.err = syscall.EINVAL
	if _, err := s.listener.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("broken listener: got %v", err)
	}
	if err := s.listener.Close(); err != nil {
		t.Error(err)
	}
}

// TestOutgoing: outgoing connections count, and leave half of the budget to others.
func TestOutgoing(t *testing.T) {
	b, _ := budgetOf(16)
	s := serve(t, b, Options{})
	unauthenticated := []pair{}
	for range 16 {
		unauthenticated = append(unauthenticated, s.connect())
	}
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = target.Close() }()
	dial := func() (net.Conn, error) { return net.Dial("tcp", target.Addr().String()) }
	var open []net.Conn
	for range 8 {
		conn, err := b.Dial(dial)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	want(t, "an unauthenticated connection in the way", unauthenticated[0], false)
	if _, err := b.Dial(dial); !errors.Is(err, ErrExhausted) {
		t.Errorf("ninth connection: got %v, want ErrExhausted", err)
	}
	_ = open[0].Close()
	if _, err := b.Dial(func() (net.Conn, error) { return nil, io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("failed dial: got %v", err)
	}
	conn, err := b.Dial(dial)
	if err != nil {
		t.Errorf("after one was closed: got %v", err)
	} else {
		_ = conn.Close()
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	if stats := b.Stats(); stats.Open != 8 {
		t.Errorf("got stats %+v", stats)
	}
}

// TestOneLine: for any number of closed connections, the log has one line per interval.
func TestOneLine(t *testing.T) {
	b, _ := budgetOf(8)
	core, logs := observer.New(zap.WarnLevel)
	s := serve(t, b, Options{Name: "https", Logger: zap.New(core)})
	for range 90 {
		s.connect()
		b.check()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := lifecycle.Poll(ctx, func() bool { return logs.Len() > 0 }); err != nil {
		t.Fatal("nothing was logged")
	}
	if logs.Len() != 1 || logs.All()[0].ContextMap()["listener"] != "https" {
		t.Errorf("got lines %+v", logs.All())
	}
}

func TestCheck(t *testing.T) {
	for _, limit := range []int{24, 32, 45} {
		err := check(numbers{limit, 6})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("is %d and 6 are in use", limit)) || !strings.Contains(err.Error(), "ulimit -n") {
			t.Errorf("limit %d: got %v", limit, err)
		}
	}
	if err := check(numbers{64, 6}); err != nil {
		t.Errorf("limit 64: got %v", err)
	}
}

// TestThisProcess measures the process of the test.
func TestThisProcess(t *testing.T) {
	before, ok := openDescriptors()
	if !ok {
		t.Skip("this system does not count open descriptors")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	after, _ := openDescriptors()
	// Go's poller comes with the first socket.
	if after <= before || descriptorLimit() < after {
		t.Errorf("got %d open, and %d with one more; the limit is %d", before, after, descriptorLimit())
	}
}

// TestFairShare: clients with many connections, and guests, leave half of the budget to
// newcomers; others leave an eighth.
func TestFairShare(t *testing.T) {
	b, _ := budgetOf(80)
	s := serve(t, b, Options{})
	var alice, node, guest []pair
	for range fairShare {
		alice = append(alice, s.busy(User, "alice"))
	}
	for range fairShare + 10 {
		node = append(node, s.busy(User, "node"))
	}
	for range 10 {
		guest = append(guest, s.busy(Guest, "guest"))
	}
	for range 200 {
		s.connect()
	}
	for i, p := range alice {
		want(t, fmt.Sprint("the one with a fair share: ", i), p, true)
	}
	left := 0
	for _, p := range append(node, guest...) {
		if p.isOpen() {
			left++
		}
	}
	if left != 80-fairShare-41 || !node[0].isOpen() {
		t.Errorf("got %d open connections of the others", left)
	}
	for _, p := range node {
		_ = p.server.Close()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.overFairShare != 0 || b.guests != 0 || len(b.clients) != 1 {
		t.Errorf("got %d clients over their fair share, %d guests, clients %v", b.overFairShare, b.guests, b.clients)
	}
}

// TestSilentConnectionsGoSooner: connections that have sent nothing are closed before
// connections that have sent a byte.
func TestSilentConnectionsGoSooner(t *testing.T) {
	b, _ := budgetOf(8)
	b.grace, b.silentGrace = time.Hour, 0
	s := serve(t, b, Options{})
	speaking, silent := s.connect(), s.connect()
	if _, err := speaking.client.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(speaking.server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		s.connect()
	}
	want(t, "the one that speaks", speaking, true)
	want(t, "the one that does not", silent, false)
}
