// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// waitTimeout bounds every wait of these tests.
const waitTimeout = 2 * time.Minute

var addresses atomic.Uint32

// peerAddr returns a loopback address that is not used by others.
func peerAddr() string {
	n := addresses.Add(1)
	return fmt.Sprintf("127.%d.%d.%d:2380", 64+os.Getpid()%128, n/250, 1+n%250)
}

// cluster is a set of hosts whose members form one cluster.
type cluster struct {
	t     *testing.T
	pki   []byte
	first map[string]string
	hosts map[string]*host
}

// host is a machine: a directory, and a process that may run.
type host struct {
	t      *testing.T
	name   string
	config hostConfig

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	log    *os.File
	done   chan struct{} // closed when the process has ended
	talk   sync.Mutex
	client kubernetes.Interface
	close  func() // closes the client's connections
}

func newPKI(t *testing.T) []byte {
	t.Helper()
	p, err := pki.Open(pki.Config{Dir: t.TempDir(), EtcdMember: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := p.Export()
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// newCluster returns the first hosts, without starting them.
func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, pki: newPKI(t), first: map[string]string{}, hosts: map[string]*host{}}
	for _, name := range names {
		c.first[name] = peerAddr()
	}
	for _, name := range names {
		c.add(name, controlplane.Etcd{Name: name, PeerAddr: c.first[name], InitialCluster: c.first})
	}
	return c
}

// add adds a host.
func (c *cluster) add(name string, e controlplane.Etcd) *host {
	h := newHost(c.t, name, hostConfig{DataDir: filepath.Join(c.t.TempDir(), name), Etcd: e, PKI: c.pki})
	c.hosts[name] = h
	return h
}

func newHost(t *testing.T, name string, cfg hostConfig) *host {
	h := &host{t: t, name: name, config: cfg}
	t.Cleanup(func() {
		h.kill()
		if t.Failed() {
			tail, _ := os.ReadFile(cfg.DataDir + ".log")
			t.Logf("log of %s:\n%s", name, tail[max(0, len(tail)-8<<10):])
		}
	})
	return h
}

// start starts all hosts at once and waits until each is ready.
func (c *cluster) start() {
	c.t.Helper()
	errs := make(chan error, len(c.hosts))
	for _, h := range c.hosts {
		go func() { errs <- h.start() }()
	}
	for range c.hosts {
		if err := <-errs; err != nil {
			c.t.Error(err)
		}
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// join adds a member through host by, and starts it.
func (c *cluster) join(by *host, name string) *host {
	c.t.Helper()
	address := peerAddr()
	began := time.Now()
	r := by.do(command{Do: "add", Name: name, PeerAddr: address})
	c.t.Logf("member %s was added after %s", name, time.Since(began).Round(time.Millisecond))
	h := c.add(name, controlplane.Etcd{Name: name, PeerAddr: address, Join: r.Join})
	if err := h.start(); err != nil {
		c.t.Fatal(err)
	}
	return h
}

// leader returns the host that leads according to by.
func (c *cluster) leader(by *host) *host {
	c.t.Helper()
	for _, m := range by.do(command{Do: "members"}).Members {
		if m.Leader {
			return c.hosts[m.Name]
		}
	}
	c.t.Fatal("there is no leader")
	return nil
}

// start runs the host's process and waits until its control plane is ready.
func (h *host) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if h.log, err = os.OpenFile(h.config.DataDir+".log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	h.cmd = &exec.Cmd{Path: self, Args: []string{hostName, h.name}, Stderr: h.log}
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	h.stdout = bufio.NewReader(stdout)
	if err := h.cmd.Start(); err != nil {
		return err
	}
	h.done = make(chan struct{})
	var ready hostReady
	if err = json.NewEncoder(h.stdin).Encode(h.config); err == nil {
		err = readLine(h.stdout, &ready)
	}
	go func() {
		defer close(h.done)
		_ = h.cmd.Wait()
		_ = h.log.Close()
	}()
	if err == nil && ready.Err != "" {
		err = errors.New(ready.Err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	return h.connect(ready.Kubeconfig)
}

func (h *host) connect(kubeconfig []byte) error {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	// Its own connections: they are cut when the process is killed.
	dialer := &net.Dialer{}
	var mu sync.Mutex
	var open []net.Conn
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			open = append(open, conn)
		}
		return conn, err
	}
	h.close = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range open {
			_ = conn.Close()
		}
	}
	h.client, err = kubernetes.NewForConfig(config)
	return err
}

// do sends a command that must succeed.
func (h *host) do(c command) result {
	h.t.Helper()
	r, err := h.try(c)
	if err != nil {
		h.t.Fatalf("%s: %s: %v", h.name, c.Do, err)
	}
	return r
}

func (h *host) try(c command) (r result, err error) {
	h.talk.Lock()
	defer h.talk.Unlock()
	if err = json.NewEncoder(h.stdin).Encode(c); err == nil {
		err = readLine(h.stdout, &r)
	}
	if err == nil && r.Err != "" {
		err = errors.New(r.Err)
	}
	return r, err
}

// signal sends SIGSTOP or SIGCONT.
func (h *host) signal(s syscall.Signal) {
	h.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
}

// kill ends the process like a power cut.
func (h *host) kill() {
	if h.done == nil {
		return
	}
	_ = h.cmd.Process.Kill()
	h.wait()
}

// stop ends the process gracefully.
func (h *host) stop() {
	_ = h.stdin.Close()
	h.wait()
}

func (h *host) wait() {
	<-h.done
	_ = h.stdin.Close()
	if h.close != nil {
		h.close()
	}
}

// ended waits for the end of the host's process, and returns the end of its log.
func (h *host) ended() string {
	select {
	case <-h.done:
	case <-time.After(waitTimeout):
		h.t.Fatalf("%s still runs", h.name)
	}
	log, _ := os.ReadFile(h.config.DataDir + ".log")
	return string(log[max(0, len(log)-4<<10):])
}

// votes waits until exactly the named members vote.
func votes(t *testing.T, by *host, names ...string) {
	t.Helper()
	testwait.UntilWithin(t, waitTimeout, "the members", func(context.Context) error {
		r, err := by.try(command{Do: "members"})
		if err != nil {
			return err
		}
		if got := voting(r.Members); fmt.Sprint(got) != fmt.Sprint(names) {
			return fmt.Errorf("voting members are %v, want %v", got, names)
		}
		return nil
	})
}

func voting(members []etcd.ClusterMember) (names []string) {
	for _, m := range members {
		if !m.Learner {
			names = append(names, m.Name)
		}
	}
	return names
}
