// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"go.uber.org/zap"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/nils"
)

// Host makes connections with dialers of the host's. It is safe for concurrent use.
type Host struct {
	ended  context.Context
	end    context.CancelCauseFunc
	logger *zap.Logger
	dialer *Dialer // has the connections
}

// NewHost returns a Host whose connections end with Close.
func NewHost(logger *zap.Logger) *Host {
	h := &Host{logger: logger}
	h.ended, h.end = context.WithCancelCause(context.Background())
	h.dialer = NewDialer(h.ended, logger, nil)
	return h
}

// Close closes all connections, and ends the waits for those in progress.
func (h *Host) Close() {
	h.end(net.ErrClosed)
	h.dialer.Close()
}

// Dial returns dial, a function of the host's, like Contain and Keep.
func (h *Host) Dial(field string, dial utilnet.DialFunc) utilnet.DialFunc {
	return h.Keep(h.Contain(field, dial))
}

// Keep returns dial, a result of Contain. The connections count for the limit of open
// files, and end with Close.
func (h *Host) Keep(dial utilnet.DialFunc) utilnet.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := connlimit.Process.Dial(func() (net.Conn, error) { return dial(ctx, network, address) })
		if err != nil {
			return nil, err
		}
		return h.dialer.conns.Track(conn)
	}
}

// Contain returns dial, a function of the host's, with errors that name its field. It
// returns when the context of the call ends, after dialTimeout or Close, also if dial
// does not; at most hostcall.Max such calls are left running. A connection that comes
// later is closed. A panic is an error.
func (h *Host) Contain(field string, dial utilnet.DialFunc) utilnet.DialFunc {
	var calls hostcall.Calls
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errDialTimeout)
		defer cancel()
		defer context.AfterFunc(h.ended, cancel)()
		defer waits(ctx, field, address)()
		results := make(chan dialed)
		if !hostcall.Go(&calls, func() (result dialed) {
			result.conn, result.err = dial(ctx, network, address)
			return result
		}, func(r hostcall.Result[dialed]) {
			r.Value.give(ctx, r.Exit, results, hostcall.Net{Field: field, Logger: h.logger})
		}) {
			return nil, fmt.Errorf("%s: the dialer is blocked: %d calls have not returned", field, hostcall.Max)
		}
		select {
		case result := <-results:
			if result.stack != nil {
				h.logger.Error("a dialer of the host's panicked", zap.String("field", field), zap.String("address", address),
					zap.Error(result.err), zap.ByteString("stack", result.stack))
			}
			if result.err != nil {
				if result.conn != nil {
					_ = result.conn.Close()
				}
				return nil, fmt.Errorf("%s: %w", field, result.err)
			}
			return result.conn, nil
		case <-ctx.Done():
			err := context.Cause(ctx)
			if h.ended.Err() != nil {
				err = context.Cause(h.ended)
			} else if ctx.Err() == context.DeadlineExceeded {
				h.logger.Warn("a dialer of the host's has not connected in time", zap.String("field", field), zap.String("address", address), zap.Error(err))
			}
			return nil, fmt.Errorf("%s: no connection to %s: %w", field, address, err)
		}
	}
}

var errDialTimeout = fmt.Errorf("it took longer than %s: %w", dialTimeout, context.DeadlineExceeded)

// dialed is the result of a function of the host's.
type dialed struct {
	conn  net.Conn
	err   error
	stack []byte // of a panic
}

// give gives a result to results or, when ctx has ended, to nobody.
func (result dialed) give(ctx context.Context, exit *hostcall.Exit, results chan<- dialed, contained hostcall.Net) {
	switch {
	case exit != nil && exit.Panic == nil:
		result.err = errors.New("the dialer ended its goroutine")
	case exit != nil:
		result = dialed{err: fmt.Errorf("the dialer panicked: %v", exit.Panic), stack: exit.Stack}
	case nils.Is(result.conn) && result.err == nil:
		result.err = errors.New("the dialer returned neither a connection nor an error")
	}
	if nils.Is(result.conn) {
		result.conn = nil // also a nil pointer, which panics in net/http
	} else {
		result.conn = contained.Conn(result.conn)
	}
	select {
	case results <- result:
	case <-ctx.Done():
		if result.conn != nil {
			_ = result.conn.Close()
		}
	}
}

// dialHost connects with the dialer of the host's, to an endpoint that check accepts. A
// name is resolved here, and the dialer gets the address: it might resolve the name to
// another one. A name that does not exist here is left to the dialer.
func (d *Dialer) dialHost(ctx context.Context, network, address string, check func(netip.AddrPort) error, refused func(string, error) error) (net.Conn, error) {
	endpoints, err := d.endpoints(ctx, address)
	if err != nil {
		return nil, refused(address, err)
	}
	for _, endpoint := range endpoints {
		if err := check(endpoint); err != nil {
			return nil, refused(address, err)
		}
	}
	if len(endpoints) == 0 {
		return d.host(ctx, network, address)
	}
	var errs []error
	for _, endpoint := range endpoints {
		conn, err := d.host(ctx, network, endpoint.String())
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// endpoints resolves an address. There are none for a name that does not exist.
func (d *Dialer) endpoints(ctx context.Context, address string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is not a port", service)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), uint16(port))}, nil
	}
	if host == "" || numeric(host) {
		return nil, fmt.Errorf("%q is neither an IP address nor a host name, and some resolvers would take it for an address", host)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errDialTimeout)
	defer cancel()
	ips, err := d.resolve(ctx, "ip", host)
	if about, ok := errors.AsType[*net.DNSError](err); ok && about.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the address of %s is not known: %w", host, err)
	}
	endpoints := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		endpoints = append(endpoints, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return endpoints, nil
}

// numeric reports whether the last label of a name is a number, as in 127.1 and 0x7f.1,
// which getaddrinfo takes for addresses. No name of the Internet has one.
func numeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	_, err := strconv.ParseUint(last, 0, 64)
	return err == nil || errors.Is(err, strconv.ErrRange) || last != "" && strings.Trim(last, "0123456789") == ""
}
