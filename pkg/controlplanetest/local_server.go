// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // net/http has no other type for it, and this one discards
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// LocalServer is a server on this machine that the API server calls.
type LocalServer struct {
	// Host and Port are the address of the server. Host is a loopback address. If the
	// test starts the server itself, Port is a port that was free. The fixture gives it
	// to no other test of the process, but another process could take it before the
	// server listens.
	Host string
	Port int

	// CertDir is a directory with the server's certificate and key, tls.crt and tls.key.
	// It is removed at the end of the test. It is empty if the fixture serves a Handler.
	CertDir string

	ca      []byte
	timeout time.Duration
	// For messages: kind is like "webhook server", owner is the name of the test, and
	// serves lists the paths that the server must answer.
	kind, owner string
	serves      []string

	http     *http.Server // nil if the test starts one itself
	handlers lifecycle.Group
	serving  chan struct{}
}

const (
	readyTimeout    = 10 * time.Second
	handlersTimeout = 5 * time.Second
)

// WaitReady returns when the server answers. If it does not answer within
// Webhooks.ReadyTimeout or APIServices.ReadyTimeout, the test fails: the message has the
// address, and the paths that the server must answer with their files.
func (s *LocalServer) WaitReady(t TB) {
	t.Helper()
	if err := s.waitReady(context.Background()); err != nil {
		t.Fatalf("controlplanetest: %v", err)
	}
}

func (s *LocalServer) waitReady(ctx context.Context) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.ca)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: s.Host, MinVersion: tls.VersionTLS12}}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var last error
	err := poll(ctx, func() (bool, error) {
		conn, err := dialer.DialContext(ctx, "tcp", s.address())
		if err != nil {
			// An earlier error explains more than the end of ctx.
			if timeout := net.Error(nil); last == nil || !errors.As(err, &timeout) || !timeout.Timeout() {
				last = err
			}
			return false, err
		}
		return true, conn.Close()
	})
	if err == nil {
		return nil
	}
	cure := "start it before WaitReady, with the Host, Port and CertDir of the LocalServer"
	if certificate := (*tls.CertificateVerificationError)(nil); errors.As(last, &certificate) {
		cure = "serve the certificate in CertDir"
	}
	return fmt.Errorf("the %s of %s does not answer at %s within %v: %w: %s; it must serve:\n%s",
		s.kind, s.owner, s.address(), s.timeout, last, cure, strings.Join(s.serves, "\n"))
}

func (s *LocalServer) address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

func (s *LocalServer) url(path string) string {
	return "https://" + s.address() + "/" + strings.TrimPrefix(path, "/")
}

// localServer starts a server for handler. Without a handler it only chooses the port and
// writes the certificate. extraHosts returns further names for the certificate.
func (p *plane) localServer(kind string, owner owner, handler http.Handler, timeout time.Duration, extraHosts func(port int) []string) (*LocalServer, error) {
	if timeout == 0 {
		timeout = readyTimeout
	}
	s := &LocalServer{kind: kind, owner: owner.name, timeout: timeout, ca: p.server.CABundle()}
	listener, err := s.listen(handler != nil)
	if err != nil {
		return nil, err
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if extraHosts != nil {
		hosts = append(hosts, extraHosts(s.Port)...)
	}
	pair, err := p.server.ServingCertificate(hosts...)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	if handler == nil {
		return s, s.writeCertificate(owner, pair.Cert, pair.Key)
	}
	certificate, err := pair.TLS()
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	s.serve(owner, listener, certificate, handler)
	return s, nil
}

func (s *LocalServer) writeCertificate(owner owner, cert, key []byte) (err error) {
	if s.CertDir, err = owner.tempDir(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.CertDir, "tls.crt"), cert, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.CertDir, "tls.key"), key, 0o600)
}

func (s *LocalServer) serve(owner owner, listener net.Listener, certificate tls.Certificate, handler http.Handler) {
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			end, ok := s.handlers.Begin()
			if !ok {
				http.Error(w, "the test has ended", http.StatusServiceUnavailable)
				return
			}
			defer end()
			defer func() {
				if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // as net/http does
					owner.logf("%s: panic serving %s: %v\n%s", s.kind, r.URL.Path, v, debug.Stack())
					panic(http.ErrAbortHandler)
				}
			}()
			handler.ServeHTTP(w, r)
		}),
		// An aggregated API server verifies the certificate of the front proxy itself.
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: time.Minute,
		// Drop errors of clients that hang up: the API server probes servers with
		// several connections at once.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s.serving = make(chan struct{})
	go func() {
		defer close(s.serving)
		_ = s.http.ServeTLS(listener, "", "") // returns when it is closed
	}()
}

// close cuts requests in flight and waits for their handlers, whose contexts end.
func (s *LocalServer) close() error {
	if s == nil || s.http == nil {
		return nil
	}
	err := s.http.Close()
	<-s.serving
	s.handlers.Close()
	ctx, cancel := context.WithTimeout(context.Background(), handlersTimeout)
	defer cancel()
	if s.handlers.Wait(ctx) != nil {
		err = errors.Join(err, fmt.Errorf("a handler of the %s still runs %v after its request was cut: return from it when the request's context ends", s.kind, handlersTimeout))
	}
	return err
}
