// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/inprocess"
)

// host is one at which nothing listens: a request over the network fails.
const host = "127.0.0.1:1"

// TestRequestsOfUnchangedConfigurations: a request reaches the handler in this process
// only for this server, and with the credentials of the configuration.
func TestRequestsOfUnchangedConfigurations(t *testing.T) {
	const own = "Bearer own"
	for _, test := range []struct {
		name      string
		implied   bool
		change    func(*rest.Config)
		inProcess bool
	}{
		{name: "token", change: func(c *rest.Config) { c.BearerToken = "own" }, inProcess: true},
		{name: "another token", change: func(c *rest.Config) { c.BearerToken = "other" }},
		{name: "no token", change: func(*rest.Config) {}},
		{name: "implied", implied: true, change: func(*rest.Config) {}, inProcess: true},
		{name: "implied and a token", implied: true, change: func(c *rest.Config) { c.BearerToken = "own" }},
		{name: "another host", implied: true, change: func(c *rest.Config) { c.Host = "https://127.0.0.1:2" }},
		{name: "another TLSClientConfig", implied: true, change: func(c *rest.Config) { c.ServerName = "other" }},
		{name: "user agent", implied: true, change: func(c *rest.Config) { c.UserAgent = "test" }, inProcess: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			transport := inprocess.NewTransport(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = r.Header.Get("Authorization")
			}))
			defer func() { _ = transport.Shutdown(t.Context()) }()
			l := &Loopback{Host: host, InProcess: transport, Stopping: &atomic.Bool{}}
			config := &rest.Config{Host: "https://" + host}
			config.WrapTransport = l.Wrap(config.TLSClientConfig, Credentials{Authorization: own, Implied: test.implied})
			test.change(config)
			err := get(t, config)
			if inProcess := err == nil; inProcess != test.inProcess {
				t.Errorf("got error %v, want in-process: %t", err, test.inProcess)
			}
			if test.inProcess && got != own {
				t.Errorf("got Authorization %q, want %q", got, own)
			}
		})
	}
}

// TestStoppingServerRefusesRequests: the error is not one that clients retry.
func TestStoppingServerRefusesRequests(t *testing.T) {
	var stopping atomic.Bool
	stopping.Store(true)
	l := &Loopback{Host: host, InProcess: http.DefaultTransport, Stopping: &stopping}
	config := &rest.Config{Host: "https://" + host}
	config.WrapTransport = l.Wrap(config.TLSClientConfig, Credentials{Implied: true})
	if err := get(t, config); !errors.Is(err, inprocess.ErrStopped) {
		t.Errorf("got error %v, want %v", err, inprocess.ErrStopped)
	}
}

func get(t *testing.T, config *rest.Config) error {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+"/api", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err == nil {
		err = response.Body.Close()
	}
	return err
}
