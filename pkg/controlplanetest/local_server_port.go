// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// listen binds the server's port. If keep is false, it releases the port again, for a
// server that takes a port number and no listener.
func (s *LocalServer) listen(keep bool) (net.Listener, error) {
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		listener, err := bind(host, keep)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.Host, s.Port = host, listener.Addr().(*net.TCPAddr).Port
		if !keep {
			err = listener.Close()
		}
		return listener, err
	}
	return nil, fmt.Errorf("find a port for the %s: %w", s.kind, errors.Join(errs...))
}

// No operating system assigns ports of this range by itself, so that a free one stays
// free until the server starts.
const (
	firstPort = 20000
	lastPort  = 32000
)

// given are the ports that were handed out, which are not handed out again.
var given struct {
	sync.Mutex
	ports map[int]bool
}

func bind(host string, keep bool) (net.Listener, error) {
	if keep {
		return net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(host)})
	}
	given.Lock()
	defer given.Unlock()
	var last error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if given.ports[port] {
			continue
		}
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(host), Port: port})
		if err != nil {
			last = err
			continue
		}
		if given.ports == nil {
			given.ports = map[int]bool{}
		}
		given.ports[port] = true
		return listener, nil
	}
	return nil, fmt.Errorf("tried 100 ports, none is free: %w", last)
}
