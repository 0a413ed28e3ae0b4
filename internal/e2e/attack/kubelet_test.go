// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// kubelet is an attacker's server at the address of a node.
type kubelet struct {
	port int32
	pair atomic.Pointer[tls.Certificate]
	stop func()
}

func serve(address string, handler http.HandlerFunc) (*kubelet, error) {
	k := &kubelet{}
	listener, err := tls.Listen("tcp", address+":0", &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if p := k.pair.Load(); p != nil {
				return p, nil
			}
			return nil, errors.New("no certificate yet")
		},
	})
	if err != nil {
		return nil, err
	}
	k.port = int32(listener.Addr().(*net.TCPAddr).Port) // #nosec G115 -- a port
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	k.stop = func() {
		_ = server.Close()
		<-served
	}
	return k, nil
}

// use sets the certificate of the server.
func (k *kubelet) use(cert, key []byte) {
	if pair, err := tls.X509KeyPair(cert, key); err == nil {
		k.pair.Store(&pair)
	}
}
