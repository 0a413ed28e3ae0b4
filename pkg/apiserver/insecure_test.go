// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// Without authentication all clients are administrators, except web pages that the user
// visits.
func TestInsecureListenerRefusesWebPages(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := startPlane(t, func(c *apiserver.Config) { c.InsecureListener = listener })
	for _, test := range []struct {
		name, host string
		header     map[string]string
		want       int
	}{
		{name: "curl", want: http.StatusOK},
		{name: "localhost", host: "localhost:8080", want: http.StatusOK},
		{name: "an address", host: "192.0.2.1", want: http.StatusOK},
		{name: "an IPv6 address", host: "[::1]:8080", want: http.StatusOK},
		{name: "typed into a browser", header: map[string]string{"Sec-Fetch-Site": "none"}, want: http.StatusOK},
		{name: "a rebound name", host: "attacker.example:8080", want: http.StatusForbidden},
		{name: "a page of another origin", header: map[string]string{"Origin": "http://attacker.example"}, want: http.StatusForbidden},
		{name: "an image of another site", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, want: http.StatusForbidden},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.InsecureURL()+"/api/v1/nodes", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = test.host
		for key, value := range test.header {
			request.Header.Set(key, value)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s: %s, want %d", test.name, response.Status, test.want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
