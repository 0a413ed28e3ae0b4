// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// oneWebhook returns a webhook for ConfigMaps in a namespace, under /validate.
func oneWebhook(namespace string) controlplanetest.Webhooks {
	return controlplanetest.Webhooks{
		Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{validating("one", "/validate")},
		Namespaces: []string{namespace},
	}
}

// listen binds the port of a server.
func listen(t testing.TB, server *controlplanetest.LocalServer) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(server.Host, fmt.Sprint(server.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// TestWebhookServerOfTheTest: the test starts the server with host, port and directory,
// like controller-runtime's.
func TestWebhookServerOfTheTest(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	namespace := cp.Namespace(t)
	server := cp.InstallWebhooks(t, oneWebhook(namespace))

	// Until the server runs, the API server refuses requests with the reason.
	_, err := tryConfigMap(t, cp, namespace, true)
	wantError(t, err, `failed calling webhook "one.example.com"`, fmt.Sprintf("https://127.0.0.1:%d/validate", server.Port), "connection refused")

	own := &http.Server{Handler: refusal("by my own server"), ReadHeaderTimeout: time.Minute}
	listener := listen(t, server.LocalServer)
	go func() {
		_ = own.ServeTLS(listener, filepath.Join(server.CertDir, "tls.crt"), filepath.Join(server.CertDir, "tls.key"))
	}()
	defer own.Close()
	server.WaitReady(t)
	_, err = tryConfigMap(t, cp, namespace, true)
	wantError(t, err, "by my own server")
}

// TestWebhookServerThatIsNotReady: the message has the webhook without a server, its
// source and the address, and the next test is not affected.
func TestWebhookServerThatIsNotReady(t *testing.T) {
	t.Parallel()
	certificate := func(t testing.TB, server *controlplanetest.WebhookServer) tls.Certificate {
		t.Helper()
		other := controlplanetest.Shared(t)
		pair, err := other.ServingCertificate("somebody.else")
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	for name, test := range map[string]struct {
		start func(t testing.TB, server *controlplanetest.WebhookServer)
		want  string
	}{
		"not started": {func(testing.TB, *controlplanetest.WebhookServer) {}, "connection refused"},
		"never answers": {func(t testing.TB, server *controlplanetest.WebhookServer) {
			listen(t, server.LocalServer) // and accepts no connection
		}, "deadline exceeded"},
		"no TLS": {func(t testing.TB, server *controlplanetest.WebhookServer) {
			listener := listen(t, server.LocalServer)
			plain := &http.Server{Handler: refusal("no"), ReadHeaderTimeout: time.Minute}
			go func() { _ = plain.Serve(listener) }()
			t.Cleanup(func() { plain.Close() })
		}, "does not look like a TLS handshake"},
		"other certificate": {func(t testing.TB, server *controlplanetest.WebhookServer) {
			listener := tls.NewListener(listen(t, server.LocalServer), &tls.Config{Certificates: []tls.Certificate{certificate(t, server)}, MinVersion: tls.VersionTLS12})
			other := &http.Server{Handler: refusal("no"), ReadHeaderTimeout: time.Minute, ErrorLog: silent()}
			go func() { _ = other.Serve(listener) }()
			t.Cleanup(func() { other.Close() })
		}, "serve the certificate in CertDir"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cp := controlplanetest.Shared(t)
			namespace := cp.Namespace(t)
			r := recorder{name: "TestDead"}
			var address string
			r.run(func(recorded controlplanetest.TB) {
				webhooks := oneWebhook(namespace)
				webhooks.Paths = []string{"testdata/webhooks"}
				webhooks.ReadyTimeout = time.Second
				server := cp.InstallWebhooks(recorded, webhooks)
				address = fmt.Sprintf("127.0.0.1:%d", server.Port)
				test.start(t, server)
				server.WaitReady(recorded)
			})
			if !r.failed {
				t.Error("it did not fail")
			}
			for _, want := range []string{
				"TestDead", test.want, address, `webhook "one.example.com"`, "Webhooks.Validating[0]",
				`webhook "vconfigmap.example.com"`, "testdata/webhooks/manifests.yaml", "https://" + address + "/validate-configmap",
			} {
				if !strings.Contains(filepath.ToSlash(r.text()), want) {
					t.Errorf("message without %q:\n%s", want, r.text())
				}
			}
			if _, err := tryConfigMap(t, cp, namespace, false); err != nil {
				t.Errorf("the next test: %v", err)
			}
		})
	}
}

// TestSlowWebhook: the API server gives up after timeoutSeconds, and the context of the
// handler ends.
func TestSlowWebhook(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	namespace := cp.Namespace(t)
	webhooks := oneWebhook(namespace)
	seconds := int32(1)
	webhooks.Validating[0].Webhooks[0].TimeoutSeconds = &seconds
	ended := make(chan struct{}, 1)
	webhooks.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		select {
		case ended <- struct{}{}:
		default: // the API server may have retried
		}
	})
	r := recorder{}
	r.run(func(t controlplanetest.TB) {
		cp.InstallWebhooks(t, webhooks)
		_, err := tryConfigMap(t, cp, namespace, true)
		wantError(t, err, `failed calling webhook "one.example.com"`, "context deadline exceeded")
		<-ended
		// The end of the test cuts a request in flight.
		go func() { _, _ = tryConfigMap(t, cp, namespace, true) }()
	})
	if r.failed {
		t.Error(r.text())
	}
	if _, err := tryConfigMap(t, cp, namespace, true); err != nil {
		t.Errorf("the next test: %v", err)
	}
}

// TestWebhookHandlerThatStays: a handler that does not return after its request was cut
// fails the test.
func TestWebhookHandlerThatStays(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	namespace := cp.Namespace(t)
	webhooks := oneWebhook(namespace)
	called, release := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	webhooks.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if once.CompareAndSwap(false, true) {
			close(called)
		}
		<-release
	})
	r := recorder{name: "TestThatLeaks"}
	done := make(chan struct{})
	r.run(func(recorded controlplanetest.TB) {
		cp.InstallWebhooks(recorded, webhooks)
		go func() {
			defer close(done)
			_, _ = tryConfigMap(t, cp, namespace, true)
		}()
		<-called
	})
	close(release)
	<-done
	if !r.failed || !strings.Contains(r.text(), "TestThatLeaks") || !strings.Contains(r.text(), "still runs") {
		t.Errorf("failed %v: %s", r.failed, r.text())
	}
}

// TestWebhookHandlerThatPanics: the test logs the panic.
func TestWebhookHandlerThatPanics(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	namespace := cp.Namespace(t)
	webhooks := oneWebhook(namespace)
	webhooks.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("at the webhook") })
	r := recorder{}
	r.run(func(t controlplanetest.TB) {
		cp.InstallWebhooks(t, webhooks)
		_, err := tryConfigMap(t, cp, namespace, true)
		wantError(t, err, `failed calling webhook "one.example.com"`)
		_ = wait.PollUntilContextTimeout(context.Background(), 5*time.Millisecond, testwait.Timeout, true, func(context.Context) (bool, error) {
			return strings.Contains(r.text(), "at the webhook"), nil
		})
	})
	if r.failed || !strings.Contains(r.text(), "panic serving") || !strings.Contains(r.text(), "at the webhook") {
		t.Errorf("failed %v: %s", r.failed, r.text())
	}
}

// silent returns the log of a server whose clients hang up.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }
