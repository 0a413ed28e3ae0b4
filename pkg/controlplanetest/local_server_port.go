package controlplanetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// listen binds the server's port. Where it is for a server that takes no listener,
// only a number, the port is released again.
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
	return nil, fmt.Errorf("a port for the %s: %w", s.what, errors.Join(errs...))
}

// Ports from here on are those that no operating system chooses by itself, so that
// one which has been looked for stays free until a server is started.
const (
	firstPort = 20000
	lastPort  = 32000
)

// given are the ports that have been looked for, which are not given again.
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
	return nil, fmt.Errorf("none of 100 is free: %w", last)
}
