// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// TestConnectionsAreKnown looks at what a connection counts as after the requests on
// it, over both versions of HTTP.
func TestConnectionsAreKnown(t *testing.T) {
	users := map[string]*user.DefaultInfo{
		"nobody":        nil,
		"anonymous":     {Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}},
		"token":         {Name: "system:bootstrap:abcdef", Groups: []string{"system:bootstrappers", user.AllAuthenticated}},
		"node":          {Name: "system:node:worker", Groups: []string{user.NodesGroup, user.AllAuthenticated}},
		"administrator": {Name: "kubernetes-admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}},
	}
	authenticate := Authenticator{authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		switch who := users[r.Header.Get("Who")]; {
		case r.Header.Get("Who") == "failing":
			return &authenticator.Response{User: users["administrator"]}, true, errors.New("etcd is unavailable")
		case who == nil:
			return nil, false, nil
		default:
			return &authenticator.Response{User: who}, true, nil
		}
	})}
	const none = connlimit.Class(0)
	for _, c := range []struct {
		name    string
		anybody bool
		who     []string
		class   connlimit.Class
		as      string
	}{
		{"no user", false, []string{"nobody"}, none, ""},
		{"anonymous", false, []string{"anonymous", "anonymous"}, none, ""},
		{"an error", false, []string{"failing"}, none, ""},
		{"a token", false, []string{"token"}, connlimit.Guest, "system:bootstrap:abcdef"},
		{"a node", false, []string{"nobody", "node"}, connlimit.User, "system:node:worker"},
		{"an administrator", false, []string{"administrator"}, connlimit.Admin, "kubernetes-admin"},
		{"a front proxy", false, []string{"token", "administrator", "node"}, connlimit.Admin, "kubernetes-admin"},
		{"without authentication", true, []string{"administrator"}, connlimit.Guest, "kubernetes-admin"},
	} {
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(c.name+" "+protocol, func(t *testing.T) {
				var conn *connlimit.Conn
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.Proto != protocol {
						t.Errorf("spoke %s", r.Proto)
					}
					conn = ConnOf(r.Context())
					_, _, _ = authenticate.AuthenticateRequest(r)
				}))
				server.Config.ConnContext = WithConn
				server.Listener = lifecycle.NewConns(connlimit.Process.Listener(server.Listener, connlimit.Options{NoAuthentication: c.anybody}))
				server.EnableHTTP2 = protocol == "HTTP/2.0"
				server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
				server.StartTLS()
				defer server.Close()
				for _, who := range c.who {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Who", who)
					response, err := server.Client().Do(r)
					if err != nil {
						t.Fatal(err)
					}
					_ = response.Body.Close()
				}
				if conn == nil {
					t.Fatal("the request has no connection")
				}
				if class, name := conn.Client(); class != c.class || name != c.as {
					t.Errorf("it is of %q, class %d; want %q, %d", name, class, c.as, c.class)
				}
			})
		}
	}
}
