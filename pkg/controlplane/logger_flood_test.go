// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestStrangersDoNotFloodTheLog counts all lines of the Logger, at every level, while
// clients without credentials do everything that makes upstream, net/http or the control
// plane log.
func TestStrangersDoNotFloodTheLog(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	server := start(t, controlplane.Config{InsecureAddr: "127.0.0.1:0", Logger: zap.New(core)})
	address := hostPort(t, server.URL())
	stranger := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it does not care who answers
	http11 := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: stranger, MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	get := func(t *testing.T, url, host, authorization string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.StatusCode < 400 {
			t.Fatal(response.Status)
		}
	}
	dial := func(t *testing.T, config *tls.Config) net.Conn {
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	path := server.URL() + "/api/v1/namespaces"
	certificate := selfSigned(t)
	// One second of lines for each of the few places that log.
	const tries, most = 400, 220
	for name, attack := range map[string]func(t *testing.T, i int){
		"bootstrap tokens": func(t *testing.T, i int) { get(t, path, "", fmt.Sprintf("Bearer %06d.0123456789abcdef", i)) },
		"garbage tokens":   func(t *testing.T, i int) { get(t, path, "", fmt.Sprintf("Bearer x%d", i)) },
		"JWT garbage": func(t *testing.T, i int) {
			get(t, path, "", fmt.Sprintf("Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCIsIm4iOj%d9.x", i))
		},
		"unknown certificates": func(t *testing.T, i int) {
			conn := dial(t, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{certificate}})
			defer conn.Close()
			fmt.Fprintf(conn, "GET /api/v1/namespaces?%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", i)
			_, _ = io.Copy(io.Discard, conn)
		},
		"no TLS": func(t *testing.T, _ int) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
		},
		"old TLS": func(t *testing.T, _ int) {
			if conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil { //nolint:gosec // an old one
				_ = conn.Close()
				t.Error("TLS 1.1: got a connection, want none")
			}
		},
		"malformed HTTP": func(t *testing.T, i int) {
			conn := dial(t, http11)
			defer conn.Close()
			fmt.Fprintf(conn, "NONSENSE %d\r\nHost: a b\r\n\r\n", i)
			_, _ = io.Copy(io.Discard, conn)
		},
		"other names": func(t *testing.T, i int) {
			get(t, server.InsecureURL()+"/api", fmt.Sprintf("host%d.example", i), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			logs.TakeAll()
			for i := range tries {
				attack(t, i)
			}
			wantFewLines(t, logs, most)
		})
	}
	t.Run("reset requests", func(t *testing.T) {
		logs.TakeAll()
		for range 4 {
			conn := dial(t, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			rapidReset(conn, tries)
			_ = conn.Close()
		}
		createPod(t, admin(t, server), "after")
		wantFewLines(t, logs, most)
	})
	if n := droppedLines(t, server, "rate"); n < tries {
		t.Errorf("suppressed lines: got %v, want at least %v", n, tries)
	}
	closeServer(t, server)
	if logs.FilterMessageSnippet("log lines were suppressed").Len() == 0 {
		t.Error("log: got no line about suppressed lines, want one")
	}
}

// wantFewLines waits until no more lines come.
func wantFewLines(t *testing.T, logs *observer.ObservedLogs, most int) {
	t.Helper()
	for last := -1; last != logs.Len(); time.Sleep(20 * time.Millisecond) {
		last = logs.Len()
	}
	all := logs.TakeAll()
	if len(all) <= most {
		return
	}
	for i, entry := range all[:10] {
		t.Logf("%d: %s %s %v %.200s", i, entry.Level, entry.LoggerName, entry.ContextMap()["source"], entry.Message)
	}
	t.Errorf("%d lines, want %d at most", len(all), most)
}

// rapidReset sends HTTP/2 requests and resets each at once.
func rapidReset(conn net.Conn, requests int) {
	ended := make(chan struct{})
	go func() { defer close(ended); _, _ = io.Copy(io.Discard, conn) }()
	frame := func(to *bytes.Buffer, kind, flags byte, stream uint32, payload []byte) {
		length := len(payload)
		to.Write([]byte{byte(length >> 16), byte(length >> 8), byte(length), kind, flags})
		_ = binary.Write(to, binary.BigEndian, stream)
		to.Write(payload)
	}
	var out bytes.Buffer
	out.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	frame(&out, 4, 0, 0, nil) // SETTINGS
	for i := range requests {
		stream := uint32(2*i + 1)
		path := "/apis/certificates.k8s.io/v1/certificatesigningrequests"
		// GET, https, and a :path and an :authority as literals.
		headers := append([]byte{0x82, 0x87, 0x04, byte(len(path))}, path...)
		headers = append(headers, 0x01, 1, 'x')
		frame(&out, 1, 0x5, stream, headers)                             // HEADERS, all of them
		frame(&out, 3, 0, stream, binary.BigEndian.AppendUint32(nil, 8)) // RST_STREAM: CANCEL
		if out.Len() > 4096 {
			if _, err := conn.Write(out.Bytes()); err != nil {
				break
			}
			out.Reset()
		}
	}
	_, _ = conn.Write(out.Bytes())
	_ = conn.(*tls.Conn).CloseWrite()
	<-ended
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// droppedLines waits until the metric has a value.
func droppedLines(t *testing.T, server *controlplane.Server, reason string) (n float64) {
	t.Helper()
	prefix := `kubembed_log_lines_dropped_total{reason="` + reason + `"} `
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := lifecycle.Poll(ctx, func() bool {
		metrics, err := admin(t, server).CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
		if err != nil {
			return false
		}
		_, value, found := strings.Cut(string(metrics), prefix)
		if found {
			_, err = fmt.Sscan(value, &n)
		}
		return found && err == nil && n > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
