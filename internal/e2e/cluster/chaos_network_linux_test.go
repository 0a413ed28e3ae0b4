// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name. It ends with its processes.
type namespace struct {
	fd   int
	port string // its port of the switch
	hub  *namespace
}

// newNetwork connects a network namespace for each name through a switch. The host does
// not see them. It also returns their addresses.
func newNetwork(t *testing.T, names ...string) (map[string]*namespace, map[string]string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	hub := newNamespace(t)
	err := errors.Join(hub.ip("link", "add", "hub", "type", "bridge"), hub.ip("link", "set", "hub", "up"))
	network, addresses := map[string]*namespace{}, map[string]string{}
	for i, name := range names {
		n := newNamespace(t)
		n.hub, n.port = hub, "port"+strconv.Itoa(i)
		network[name], addresses[name] = n, net.IPv4(10, 77, 0, byte(i+1)).String()
		path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd)
		err = errors.Join(
			err,
			hub.ip("link", "add", n.port, "type", "veth", "peer", "name", "eth0", "netns", path),
			hub.ip("link", "set", n.port, "master", "hub", "up"),
			n.ip("link", "set", "lo", "up"),
			n.ip("address", "add", addresses[name]+"/24", "dev", "eth0"),
			n.ip("link", "set", "eth0", "up"),
		)
	}
	if err != nil {
		t.Fatal(err)
	}
	return network, addresses
}

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{}
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		return err
	})
	if errors.Is(err, unix.EPERM) {
		t.Skip("may not make network namespaces")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(n.fd) })
	return n
}

// onThread calls f on a thread that is not used afterwards.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		done <- f()
	}()
	return <-done
}

// do calls f in the namespace: f's sockets and processes are there. For a nil namespace
// it just calls f.
func (n *namespace) do(f func() error) error {
	if n == nil {
		return f()
	}
	return onThread(func() error {
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return f()
	})
}

// ip runs the program ip in the namespace.
func (n *namespace) ip(args ...string) error {
	return n.do(func() error {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %q: %w: %s", args, err, out)
		}
		return nil
	})
}

// cut removes the port from the switch: packets are lost, and no connection gets an
// error.
func (n *namespace) cut() error { return n.hub.ip("link", "set", n.port, "nomaster") }

// heal undoes cut.
func (n *namespace) heal() error { return n.hub.ip("link", "set", n.port, "master", "hub") }
