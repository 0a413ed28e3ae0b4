// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

const month = 30 * 24 * time.Hour

// wallClock is set by the test and ticks on request, like the clock of a machine after
// sleep.
type wallClock struct {
	*clocktesting.FakeClock
	ticks chan time.Time
}

func (c wallClock) NewTicker(time.Duration) clock.Ticker { return c }
func (c wallClock) C() <-chan time.Time                  { return c.ticks }
func (c wallClock) Stop()                                {}

// set returns when the control plane has seen the new time, after a second tick.
func (c wallClock) set(now time.Time) {
	c.SetTime(now)
	c.ticks <- now
	c.ticks <- now
}

// aging is a control plane with a clock of the test for its certificates.
type aging struct {
	*controlplane.Server
	clock wallClock
	roots *x509.CertPool
	cert  tls.Certificate
}

func startAging(t *testing.T, logger *zap.Logger) *aging {
	t.Helper()
	a := &aging{clock: wallClock{clocktesting.NewFakeClock(time.Now()), make(chan time.Time)}, roots: x509.NewCertPool()}
	cfg := controlplane.Config{DataDir: t.TempDir(), Logger: logger}
	cfg.SetClock(a.clock)
	a.Server = start(t, cfg)
	a.roots.AppendCertsFromPEM(a.CABundle())
	kubeconfig, err := a.Kubeconfig("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	config := fromKubeconfig(t, kubeconfig)
	if a.cert, err = tls.X509KeyPair(config.CertData, config.KeyData); err != nil {
		t.Fatal(err)
	}
	a.clock.set(a.clock.Now()) // supervision has begun
	return a
}

// tls verifies the server by the test's clock.
func (a *aging) tls() *tls.Config {
	return &tls.Config{RootCAs: a.roots, Certificates: []tls.Certificate{a.cert}, Time: a.clock.Now, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// client opens its own connections.
func (a *aging) client(t *testing.T) (*kubernetes.Clientset, *http.Transport) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: a.tls(), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return clientFor(t, &rest.Config{Host: a.URL(), Transport: transport, QPS: -1}), transport
}

// serving returns the certificate of a new handshake.
func (a *aging) serving(t *testing.T) (*x509.Certificate, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", hostPort(t, a.URL()), a.tls())
	if err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], conn.Close()
}

// TestCertificatesAreRenewedWhileServing advances the clock by a year, month by month. No
// connection is cut, and no handshake fails by the clock of the client.
func TestCertificatesAreRenewedWhileServing(t *testing.T) {
	a := startAging(t, nil)
	first, err := a.serving(t)
	if err != nil {
		t.Fatal(err)
	}
	long, _ := a.client(t)
	watch, err := long.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=after"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()

	// Clients with short connections.
	stop, stopped := make(chan struct{}), make(chan error, 1)
	fresh, transport := a.client(t)
	go func() {
		var errs []error
		defer func() { stopped <- errors.Join(errs...) }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, err := fresh.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
			transport.CloseIdleConnections()
			if err != nil {
				errs = append(errs, err)
			}
		}
	}()
	now := first
	for range 13 {
		a.clock.set(a.clock.Now().Add(month))
		before := now
		if now, err = a.serving(t); err != nil {
			t.Fatal(err)
		}
		if due := before.NotAfter.Sub(a.clock.Now()) < before.NotAfter.Sub(before.NotBefore)/3; now.Equal(before) == due {
			t.Errorf("at %s: got renewed %t, want %t", a.clock.Now(), !due, due)
		}
		if _, err := long.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if now.Equal(first) || !first.NotAfter.Before(a.clock.Now()) {
		t.Error("got the first certificate before its end, want it over")
	}
	after := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "after"}}
	if _, err := admin(t, a.Server).CoreV1().ConfigMaps("default").Create(t.Context(), after, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case event, ok := <-watch.ResultChan():
		if configMap, is := event.Object.(*corev1.ConfigMap); !ok || !is || configMap.Name != "after" {
			t.Errorf(`the watch from a year ago: got %v, %v, want the config map "after"`, ok, event)
		}
	case <-time.After(time.Minute):
		t.Error("the watch from a year ago is silent")
	}
}

// TestMachineThatSlept: a machine wakes after all certificates have expired.
func TestMachineThatSlept(t *testing.T) {
	a := startAging(t, nil)
	now := a.clock.Now()
	a.clock.set(now.Add(14 * month))
	if _, err := a.serving(t); err != nil {
		t.Error(err)
	}
	// After the clock is set back, certificates of the future are useless.
	a.clock.set(now)
	if _, err := a.serving(t); err != nil {
		t.Errorf("set back: %v", err)
	}
}

// TestClockJumpsOfAYear: certificates are renewed at once after a jump ahead. After a
// jump back to before the CA, the log reports it until the clock is right.
func TestClockJumpsOfAYear(t *testing.T) {
	const year = 365 * 24 * time.Hour
	core, logs := observer.New(zap.ErrorLevel)
	a := startAging(t, zap.New(core))
	now := a.clock.Now()
	first, err := a.serving(t)
	if err != nil {
		t.Fatal(err)
	}
	a.clock.set(now.Add(year))
	if renewed, err := a.serving(t); err != nil || renewed.Equal(first) {
		t.Errorf("a year ahead: got error %v, renewed %t, want it renewed", err, err == nil && !renewed.Equal(first))
	}
	// Set back by less than renewInterval, but to before the renewed certificate.
	a.clock.set(now.Add(year - time.Hour))
	if _, err := a.serving(t); err != nil {
		t.Errorf("an hour back: %v", err)
	}
	if logs.Len() != 0 {
		t.Errorf("log: got %v, want nothing", logs.All())
	}
	a.clock.set(now.Add(-year))
	var said []observer.LoggedEntry
	testwait.True(t, "a year back: the log says so", func() bool {
		said = logs.FilterMessageSnippet("renewal of certificates failed").All()
		return len(said) > 0
	})
	if text, _ := said[0].ContextMap()["error"].(string); lacks(text, "set the clock", "replace the CA") != "" {
		t.Errorf("a year back: got %s, want that the log names both cures", text)
	}
	// Clients in this process do not use certificates.
	putConfigMap(t, admin(t, a.Server), "meanwhile", "x")
	a.clock.set(now)
	if _, err := a.serving(t); err != nil {
		t.Errorf("set right: %v", err)
	}
}
