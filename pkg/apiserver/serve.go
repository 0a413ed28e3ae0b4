package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log" //nolint:depguard // the type that http.Server takes
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/connlimit"
)

// served is a listener and the HTTP server on it. It is our own and not
// upstream's SecureServingInfo.Serve, which prints to standard error, panics
// when the listener fails, and holds a stop for HTTP/2's grace of a second.
type served struct {
	listener net.Listener
	conns    *conns
	server   *http.Server
	tls      bool
	done     chan struct{} // closed when Serve has returned; nil before start
}

// What kube-apiserver has for HTTP/2: room for the bodies of nearly all requests,
// and enough streams for the watches of a client.
const (
	resourceBody99Percentile = 256 * 1024
	maxStreams               = 100
)

// secureServing has kube-apiserver's timeouts and HTTP/2 settings.
func (s *Server) secureServing() *served {
	server := s.httpServer(s.config.Listener, s.track(http.HandlerFunc(s.serve)))
	server.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Who the client is, the authenticators say: a connection without a
		// certificate is welcome to bring a token.
		ClientAuth: tls.RequestClientCert,
		// Asked anew for each connection, a renewed certificate needs no restart.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := s.config.PKI.Serving().TLS()
			return &cert, err
		},
	}
	// The API server knows on which connections nodes have authenticated.
	counted := server.ConnContext
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return s.generic.connContext(counted(ctx, c), c)
	}
	server.ConnState = func(c net.Conn, state http.ConnState) { s.generic.connState(c, state) }
	server.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          maxStreams,
		MaxReadFrameSize:              resourceBody99Percentile,
		MaxReceiveBufferPerStream:     resourceBody99Percentile,
		MaxReceiveBufferPerConnection: resourceBody99Percentile * maxStreams,
	}
	conns := s.acceptFrom(s.config.Listener, connlimit.Options{Name: "https"})
	return &served{listener: conns, conns: conns, server: server, tls: true}
}

// insecureServing answers everybody as an administrator.
func (s *Server) insecureServing() *served {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.fromElsewhere(r) {
			http.Error(w, "web pages of other origins, and names that are not this server's, are refused without authentication", http.StatusForbidden)
			return
		}
		if browser(r) {
			if proxies(r) {
				http.Error(w, noProxyForBrowsers, http.StatusForbidden)
				return
			}
			w = sandboxed(w, r) // nothing here is meant to be more than read
		}
		r.Header.Set("Authorization", "Bearer "+s.tokens.Insecure)
		s.serve(w, r)
	})
	conns := s.acceptFrom(s.config.InsecureListener, connlimit.Options{Name: "insecure", NoAuthentication: true})
	return &served{listener: conns, conns: conns, server: s.httpServer(conns, s.track(handler))}
}

// acceptFrom accepts connections of listener as far as the process has room for them.
func (s *Server) acceptFrom(listener net.Listener, options connlimit.Options) *conns {
	options.Logger = s.config.Logger
	return newConns(connlimit.Process.Listener(listener, options))
}

// fromElsewhere tells a web page that the user happens to visit from curl and
// kubectl: browsers say where a request comes from, and a name that leads here
// without being in our certificate has been made to.
func (s *Server) fromElsewhere(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return true
	}
	// A page that should not have been shown.
	if referer, err := url.Parse(r.Referer()); err != nil || othersAnswer(referer.Path) {
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
	cert, err := s.config.PKI.Serving().TLS()
	return err != nil || cert.Leaf == nil || cert.Leaf.VerifyHostname(host) != nil
}

func (s *Server) httpServer(listener net.Listener, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              listener.Addr().String(),
		Handler:           handler,
		MaxHeaderBytes:    1 << 20,
		IdleTimeout:       90 * time.Second, // matches http.DefaultTransport keep-alive timeout
		ReadHeaderTimeout: 32 * time.Second, // just shy of requestTimeoutUpperBound
		ErrorLog:          errorLog(s.config.Logger.Named("http")),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext:       withConn,
	}
}

// errorLog takes what net/http has to say. A client that breaks off a handshake,
// as those that probe a port do, is no warning.
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

// track counts the handlers at work, so that Stop can wait for them: closing
// a http.Server does not.
func (s *Server) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end, ok := s.requests.Begin()
		if !ok {
			http.Error(w, "the API server is stopped", http.StatusServiceUnavailable)
			return
		}
		defer end()
		conn := connOf(r.Context())
		conn.Begin()
		defer conn.End()
		next.ServeHTTP(w, r)
	})
}

// start serves until close. A listener that ends by itself is reported to failed.
func (s *served) start(failed func(error)) {
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.serve(); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("apiserver: listener %s: %w", s.listener.Addr(), err))
		}
	}()
}

// serve leaves it to net/http to offer what it serves: no HTTP/2 with
// GODEBUG=http2server=0, by which operators avoid faults of HTTP/2.
func (s *served) serve() error {
	if s.tls {
		return s.server.ServeTLS(s.listener, "", "")
	}
	return s.server.Serve(s.listener)
}

// close ends the listener and its connections, and waits for the accept loop.
func (s *served) close() error {
	err := s.server.Close()
	if s.done == nil {
		return errors.Join(err, ignoreClosed(s.listener.Close()))
	}
	<-s.done
	// A http.Server forgets connections that have been upgraded.
	s.conns.closeAll()
	return ignoreClosed(err)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// URL is where the HTTPS listener is reached from this machine.
func (s *Server) URL() string { return "https://" + localAddress(s.config.Listener.Addr()) }

// InsecureURL is where the plain HTTP listener is reached from this machine,
// or empty.
func (s *Server) InsecureURL() string {
	if s.config.InsecureListener == nil {
		return ""
	}
	return "http://" + localAddress(s.config.InsecureListener.Addr())
}

// localAddress turns an unspecified address, at which IPv4 is answered too,
// into a loopback one.
func localAddress(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}
