// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// ServiceName is a name that every server shows a certificate of the control plane's CA
// for. Clients that verify with that CA may ask for it at any address.
const ServiceName = "kubernetes.default.svc"

// IsServiceName reports whether name is one of the kubernetes Service. Pods use such
// names, and verify with the control plane's CA.
func IsServiceName(name string) bool {
	name = strings.ToLower(name)
	return name == "kubernetes" || name == "kubernetes.default" || name == ServiceName || strings.HasPrefix(name, ServiceName+".")
}

// CertificateOptions are for Certificates.
type CertificateOptions struct {
	// Own returns the certificate of the control plane's CA and its key, in PEM.
	Own func() (cert, key []byte)
	// Default is shown to clients that ask for no other one. If nil, Own.
	Default *CertificateFile
	// SNI are shown to clients that ask for their names.
	SNI []CertificateFile
	// Get comes before Default and SNI, for clients that ask for a name. It may be nil.
	Get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// GetField is the name of the field of Get in errors.
	GetField string

	MinVersion       uint16
	CipherSuites     []uint16
	CurvePreferences []tls.CurveID
	Logger           *zap.Logger
}

// Certificates are the certificates that a server shows to its clients. A client gets the
// first of these that there is:
//
//   - the own one for the names of the kubernetes Service;
//   - that of the host's function;
//   - that of upstream's DynamicServingCertificateController: a file for the name, by
//     SNI, or the default one.
//
// A client at an IP address asks for no name. It gets the own certificate if that has the
// address and the default one does not.
type Certificates struct {
	options  CertificateOptions
	base     *tls.Config
	files    []*certificateFile
	standard *certificateFile // the default; nil if that is the own one
	reloads  Reloads
	own      atomic.Pointer[parsed]
	// controller is nil without files.
	controller *dynamiccertificates.DynamicServingCertificateController
	calls      hostcall.Calls // of the host's function

	mu     sync.Mutex // of reads of files, and of controller.RunOnce
	closed bool
}

// parsed is the own certificate.
type parsed struct {
	pem []byte
	tls *tls.Certificate
}

// NewCertificates reads the files. The error of a file is a *FileError. Close releases
// the result.
func NewCertificates(o CertificateOptions) (_ *Certificates, err error) {
	c := &Certificates{options: o}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	c.base = &tls.Config{
		MinVersion:       o.MinVersion,
		CipherSuites:     o.CipherSuites,
		CurvePreferences: o.CurvePreferences,
		// The authenticators decide who the client is: a client without a certificate
		// may have a token.
		ClientAuth: tls.RequestClientCert,
	}
	if c.base.MinVersion == 0 {
		c.base.MinVersion = tls.VersionTLS12
	}
	if o.Get != nil {
		c.base.GetCertificate = c.fromHost
	}
	if o.Default == nil && len(o.SNI) == 0 {
		_, err := c.current()
		return c, err
	}
	own := &ownCertificate{c}
	var standard dynamiccertificates.CertKeyContentProvider = own
	named := []dynamiccertificates.SNICertKeyContentProvider{own} // the first one wins
	if o.Default != nil {
		if c.standard, err = c.open(*o.Default); err != nil {
			return nil, err
		}
		standard = c.standard
	}
	for _, file := range o.SNI {
		opened, err := c.open(file)
		if err != nil {
			return nil, err
		}
		named = append(named, opened)
	}
	c.controller = dynamiccertificates.NewDynamicServingCertificateController(c.base, nil, standard, named, nil)
	_, err = c.current()
	return c, err
}

func (c *Certificates) open(from CertificateFile) (*certificateFile, error) {
	file, err := openFile(from)
	if err != nil {
		return nil, &FileError{from.fieldOf(err), err}
	}
	c.files = append(c.files, file)
	return file, nil
}

// Configure makes server show the certificates. server must not have been started.
func (c *Certificates) Configure(server *http.Server) {
	config := c.base.Clone()
	server.TLSConfig = config
	if c.controller == nil {
		config.GetCertificate = c.withoutFiles
		return
	}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if _, err := c.current(); err != nil {
			return nil, err
		}
		current, err := c.controller.GetConfigForClient(hello)
		if err != nil {
			return nil, err
		}
		// When it starts, net/http adds the protocols that it serves to the server's
		// configuration.
		current.NextProtos = []string{"http/1.1"}
		if slices.Contains(config.NextProtos, "h2") {
			current.NextProtos = []string{"h2", "http/1.1"}
		}
		return current, nil
	}
}

// withoutFiles returns the certificate of the host's function, or the own one.
func (c *Certificates) withoutFiles(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.options.Get != nil && hello.ServerName != "" {
		if certificate, err := c.fromHost(hello); certificate != nil || err != nil {
			return certificate, err
		}
	}
	return c.current()
}

// hostTimeout bounds a call of the host's function. A client waits for its handshake.
const hostTimeout = 10 * time.Second

// fromHost calls the host's function. A function that does not return is left running.
func (c *Certificates) fromHost(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if IsServiceName(hello.ServerName) {
		return nil, nil
	}
	type result struct {
		certificate *tls.Certificate
		err         error
	}
	results := make(chan result, 1)
	if !hostcall.Go(&c.calls, func() (r result) {
		r.certificate, r.err = c.options.Get(hello)
		return r
	}, func(r hostcall.Result[result]) {
		if r.Exit != nil {
			r.Value.err = c.exited(hello, r.Exit)
		}
		results <- r.Value
	}) {
		return nil, fmt.Errorf("%s is blocked: %d calls have not returned", c.options.GetField, hostcall.Max)
	}
	timer := time.NewTimer(hostTimeout)
	defer timer.Stop()
	select {
	case r := <-results:
		return r.certificate, r.err
	case <-timer.C:
		err := fmt.Errorf("%s has not returned within %s", c.options.GetField, hostTimeout)
		c.options.Logger.Error("a client gets no connection", zap.String("name", hello.ServerName), zap.Error(err))
		return nil, err
	case <-hello.Context().Done(): // the server stops, or the client has gone
		return nil, context.Cause(hello.Context())
	}
}

func (c *Certificates) exited(hello *tls.ClientHelloInfo, exit *hostcall.Exit) error {
	if exit.Panic == nil {
		return fmt.Errorf("%s: its goroutine has ended", c.options.GetField)
	}
	c.options.Logger.Error(c.options.GetField+" panicked: the client gets no connection", zap.String("name", hello.ServerName), zap.Any("panic", exit.Panic), zap.ByteString("stack", exit.Stack))
	return fmt.Errorf("%s panicked: %v", c.options.GetField, exit.Panic)
}

// current returns the own certificate. After a renewal it also gives it to controller.
func (c *Certificates) current() (*tls.Certificate, error) {
	cert, key := c.options.Own()
	if own := c.own.Load(); own != nil && bytes.Equal(cert, own.pem) {
		return own.tls, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.controller != nil {
		if err := c.controller.RunOnce(); err != nil {
			return nil, fmt.Errorf("serving certificate: %w", err)
		}
	}
	c.own.Store(&parsed{cert, &pair})
	return &pair, nil
}

// Close releases upstream's queues. The certificates are shown until the server ends.
func (c *Certificates) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	// Upstream ends the goroutines of its queues in Run only, which returns at once.
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, file := range c.files {
		file.Run(ended, 1)
	}
	if c.controller != nil {
		c.controller.Run(1, ended.Done())
	}
}

// ownCertificate is the certificate of the control plane's CA.
type ownCertificate struct{ of *Certificates }

func (*ownCertificate) Name() string                             { return "control plane's CA" }
func (*ownCertificate) AddListener(dynamiccertificates.Listener) {} // see current
func (o *ownCertificate) CurrentCertKeyContent() (cert, key []byte) {
	return o.of.options.Own()
}

// SNINames returns the names of the kubernetes Service, and the IP addresses that neither
// the default certificate nor a file claims.
func (o *ownCertificate) SNINames() (names []string) {
	own, _ := o.CurrentCertKeyContent()
	leaf := firstCertificate(own)
	if leaf == nil {
		return nil
	}
	for _, name := range leaf.DNSNames {
		if IsServiceName(name) {
			names = append(names, name)
		}
	}
	for _, ip := range leaf.IPAddresses {
		if !o.of.claimed(ip) {
			names = append(names, ip.String())
		}
	}
	return names
}

func (c *Certificates) claimed(ip net.IP) bool {
	return c.standard == nil || c.HostsAt(ip) // the own one is the default
}

// HostsAt reports whether clients at an IP address, which ask for no name, get a
// certificate of the host's.
func (c *Certificates) HostsAt(ip net.IP) bool {
	if c.standard != nil {
		accepted, _ := c.standard.CurrentCertKeyContent()
		if leaf := firstCertificate(accepted); leaf != nil && leaf.VerifyHostname(ip.String()) == nil {
			return true
		}
	}
	return slices.ContainsFunc(c.files, func(file *certificateFile) bool { return slices.Contains(file.SNINames(), ip.String()) })
}

// firstCertificate returns the first certificate, or nil.
func firstCertificate(pem []byte) *x509.Certificate {
	chain, err := cert.ParseCertsPEM(pem)
	if err != nil {
		return nil
	}
	return chain[0]
}
