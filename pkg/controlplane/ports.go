// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/files"
)

// portsFile is a file in DataDir. It is not part of the record: a start works without it,
// and snapshots do not have it, so that two control planes restored from one do not use
// the same port.
const portsFile = "ports.json"

// ports are the ports of a start with port 0 in the configuration. The next start uses
// the same, so that kubeconfigs remain valid. Zero is no port.
type ports struct {
	Bind     uint16 `json:"bindAddress,omitempty"`
	Insecure uint16 `json:"insecureAddr,omitempty"`
}

// readPorts returns no ports if the file is missing or damaged.
func readPorts(dataDir string) (p ports) {
	if dataDir == "" {
		return p
	}
	data, err := os.ReadFile(filepath.Join(dataDir, portsFile))
	if err != nil || json.Unmarshal(data, &p) != nil {
		return ports{}
	}
	return p
}

// keepPorts records the ports of this start when all parts of DataDir exist and the ports
// are bound. It replaces a port that another process uses permanently: otherwise the
// other process could use it again at the next start, and this control plane would get
// another port each time.
func (s *Server) keepPorts() error {
	if s.temporary != nil {
		return nil
	}
	before := readPorts(s.dir)
	now := before
	s.keepPort("BindAddress", s.config.BindAddress, s.listener, &now.Bind)
	if s.insecure != nil {
		s.keepPort("InsecureAddr", s.config.InsecureAddr, s.insecure, &now.Insecure)
	}
	if now == before {
		return nil
	}
	data, err := json.Marshal(now)
	if err == nil {
		err = files.WriteAtomic(filepath.Join(s.dir, portsFile), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fieldpath.New("", "Config.DataDir", "writing %s: %w", portsFile, err)
	}
	return nil
}

// keepPort sets kept to the port of listener if the configuration has port 0.
func (s *Server) keepPort(name, address string, listener net.Listener, kept *uint16) {
	if wanted, errs := parseAddress(name, address); len(errs) > 0 || wanted.Port() != 0 {
		return
	}
	got := netip.MustParseAddrPort(listener.Addr().String()).Port()
	if *kept != 0 && *kept != got {
		s.config.Logger.Warn("the port of the last start is in use, and another one is used from now on: "+
			"kubeconfigs with the old port no longer work; name a port in the configuration to keep it",
			zap.String("field", name), zap.Uint16("old", *kept), zap.Uint16("port", got))
	}
	*kept = got
}

// listenAgain binds address. If its port is 0, it uses port kept if that is free.
func listenAgain(name, address string, kept uint16) (net.Listener, error) {
	addr, errs := parseAddress(name, address)
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	if addr.Port() == 0 && kept != 0 {
		if listener, err := listenAt(netip.AddrPortFrom(addr.Addr(), kept)); err == nil {
			return listener, nil
		}
	}
	listener, err := listenAt(addr)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, errAddressInUse):
		return nil, fieldpath.New("", "Config."+name, "%s is in use: choose another port, or port 0 for a free one: %w", address, err)
	case errors.Is(err, errAddressNotLocal):
		return nil, fieldpath.New("", "Config."+name, "%s is not an address of this machine: %w", address, err)
	default:
		return nil, fieldpath.New("", "Config."+name, "%w", err)
	}
}

// hostListener returns Config.Listener at its address, or at Config.BindAddress if it has
// no IP address and port.
func (s *Server) hostListener() (net.Listener, error) {
	addr, errs := parseAddress("BindAddress", s.config.BindAddress)
	if len(errs) > 0 { // a zone, which parseAddress refuses
		return nil, errs.ToAggregate()
	}
	if _, tcp := s.config.Listener.Addr().(*net.TCPAddr); tcp {
		return s.config.Listener, nil
	}
	return serving.AtAddress(s.config.Listener, addr), nil
}

// listenAt listens on the family of addr: with "tcp", 0.0.0.0 is every IPv6 address too.
func listenAt(addr netip.AddrPort) (net.Listener, error) {
	network := "tcp"
	if addr.Addr().Is4() {
		network = "tcp4"
	}
	return net.Listen(network, addr.String())
}
