// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package serving has the listeners of the API server, and handles connections and
// responses on them.
package serving

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log" //nolint:depguard // the type that http.Server takes
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Server is a listener and the HTTP server on it. It takes the place of upstream's
// SecureServingInfo.Serve, which prints to standard error, panics when the listener
// fails, and delays a stop by HTTP/2's grace of a second.
type Server struct {
	conns  *lifecycle.Conns
	server *http.Server
	tls    bool
	done   chan struct{} // closed when Serve has returned; nil before Start
}

// Options are for a Server.
type Options struct {
	// Context is the base context of all requests.
	Context  context.Context
	Listener net.Listener
	Handler  http.Handler
	// Requests counts the handlers at work, also of upgraded connections: closing an
	// http.Server does not wait for them.
	Requests *lifecycle.Group
	// Certificates are shown to the clients of an HTTPS server.
	Certificates *Certificates
	// Certificate returns the certificate of the control plane's CA. An insecure server
	// is at the names in it.
	Certificate func() (*tls.Certificate, error)
	// MaxStreams bounds the concurrent requests of an HTTP/2 connection. If zero,
	// kube-apiserver's default.
	MaxStreams int
	// DisableHTTP2 serves HTTP/1.1 only.
	DisableHTTP2 bool
	Logger       *zap.Logger
}

// kube-apiserver's settings of HTTP/2: buffers for the bodies of nearly all requests, and
// enough streams for the watches of a client.
const (
	resourceBody99Percentile = 256 * 1024
	defaultMaxStreams        = 100
)

// NewHTTPS returns a server with kube-apiserver's timeouts and HTTP/2 settings.
// connContext and connState are for http.Server's fields of these names.
func NewHTTPS(o Options, connContext func(context.Context, net.Conn) context.Context, connState func(net.Conn, http.ConnState)) *Server {
	server := o.httpServer(o.Listener, o.track(o.Handler))
	o.Certificates.Configure(server)
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return connContext(WithConn(ctx, c), c)
	}
	server.ConnState = connState
	streams := cmp.Or(o.MaxStreams, defaultMaxStreams)
	server.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          streams,
		MaxReadFrameSize:              resourceBody99Percentile,
		MaxReceiveBufferPerStream:     resourceBody99Percentile,
		MaxReceiveBufferPerConnection: int(min(resourceBody99Percentile*int64(streams), math.MaxInt32)),
	}
	if o.DisableHTTP2 {
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
	}
	return &Server{conns: o.accept(connlimit.Options{Name: "https"}), server: server, tls: true}
}

// NewInsecure returns a server of plain HTTP that answers every client as the user of the
// bearer token, except web pages of other origins.
func NewInsecure(o Options, token string) *Server {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.fromOtherOrigin(r) {
			http.Error(w, "web pages of other origins, and names that are not this server's, are refused without authentication", http.StatusForbidden)
			return
		}
		if browser(r) {
			if proxies(r) {
				http.Error(w, noProxyForBrowsers, http.StatusForbidden)
				return
			}
			w = Sandboxed(w, r) // browsers may only read here
		}
		r.Header.Set("Authorization", "Bearer "+token)
		o.Handler.ServeHTTP(w, r)
	})
	conns := o.accept(connlimit.Options{Name: "insecure", NoAuthentication: true})
	return &Server{conns: conns, server: o.httpServer(conns, o.track(handler))}
}

// accept returns a listener that accepts connections while the process has room for them.
func (o Options) accept(limit connlimit.Options) *lifecycle.Conns {
	limit.Logger = o.Logger
	return lifecycle.NewConns(connlimit.Process.Listener(o.Listener, limit))
}

// fromOtherOrigin distinguishes a web page that the user happens to visit from curl and
// kubectl. Browsers send the origin of a request, and a name that resolves to this server
// but is not in its certificate is an attack (DNS rebinding).
func (o Options) fromOtherOrigin(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return true
	}
	// The page that sends it was proxied, and browsers should not have shown it.
	if referer, err := url.Parse(r.Referer()); err != nil || OthersAnswer(referer.Path) {
		return true
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return false
	}
	cert, err := o.Certificate()
	return err != nil || cert.Leaf == nil || cert.Leaf.VerifyHostname(host) != nil
}

func (o Options) httpServer(listener net.Listener, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              listener.Addr().String(),
		Handler:           handler,
		MaxHeaderBytes:    1 << 20,
		IdleTimeout:       90 * time.Second, // matches http.DefaultTransport keep-alive timeout
		ReadHeaderTimeout: 32 * time.Second, // just shy of requestTimeoutUpperBound
		ErrorLog:          errorLog(o.Logger.Named("http")),
		BaseContext:       func(net.Listener) context.Context { return o.Context },
		ConnContext:       WithConn,
	}
}

// errorLog takes the messages of net/http. A failed handshake, as of a client that probes
// the port, is no warning.
func errorLog(logger *zap.Logger) *log.Logger {
	return log.New(writer(func(line []byte) {
		message := strings.TrimSpace(string(line))
		if strings.HasPrefix(message, "http: TLS handshake error") {
			logger.Debug(message)
			return
		}
		logger.Warn(message)
	}), "", 0)
}

type writer func([]byte)

func (w writer) Write(line []byte) (int, error) {
	w(line)
	return len(line), nil
}

// begin counts a request, and answers it if the server has stopped.
func begin(w http.ResponseWriter, requests *lifecycle.Group) (end func(), ok bool) {
	if end, ok = requests.Begin(); !ok {
		http.Error(w, "the API server is stopped", http.StatusServiceUnavailable)
	}
	return end, ok
}

// track counts the requests in progress, of the server and of their connection.
func (o Options) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end, ok := begin(w, o.Requests)
		if !ok {
			return
		}
		defer end()
		conn := ConnOf(r.Context())
		conn.Begin()
		defer conn.End()
		next.ServeHTTP(w, r)
	})
}

// Start serves until Close. It reports a listener that ends by itself to failed.
func (s *Server) Start(failed func(error)) {
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.serve(); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("apiserver: listener %s: %w", s.conns.Addr(), err))
		}
	}()
}

// serve leaves the offer of protocols to net/http: there is no HTTP/2 with
// GODEBUG=http2server=0, by which operators avoid bugs of HTTP/2.
func (s *Server) serve() error {
	if s.tls {
		return s.server.ServeTLS(s.conns, "", "")
	}
	return s.server.Serve(s.conns)
}

// Close closes the listener and its connections, and waits for the accept loop.
func (s *Server) Close() error {
	err := s.server.Close()
	if s.done == nil {
		return errors.Join(err, ignoreClosed(s.conns.Close()))
	}
	<-s.done
	// An http.Server forgets connections that have been upgraded.
	s.conns.CloseAll()
	return ignoreClosed(err)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// LocalAddress returns the address at which this machine reaches a listener: for an
// unspecified address, which also accepts IPv4, a loopback address.
func LocalAddress(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}
