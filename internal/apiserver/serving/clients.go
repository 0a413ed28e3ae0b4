// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"github.com/kubembed/kubembed/internal/connlimit"
)

// clientConn is the context key of the connection of a request.
type clientConn struct{}

// WithConn implements http.Server.ConnContext.
func WithConn(ctx context.Context, conn net.Conn) context.Context {
	if c := connlimit.FromConn(conn); c != nil {
		return context.WithValue(ctx, clientConn{}, c)
	}
	return ctx
}

// ConnOf returns the connection of a request, or nil for one in this process.
func ConnOf(ctx context.Context) *connlimit.Conn {
	c, _ := ctx.Value(clientConn{}).(*connlimit.Conn)
	return c
}

// Authenticator records the authenticated user on the connection of a request. When there
// are too many connections, the connections of authenticated clients are closed last.
//
// It authenticates with a stack of 32 KiB: it is the first code of this module in the
// goroutine that upstream's timeout filter starts.
type Authenticator struct{ authenticator.Request }

// AuthenticateRequest implements authenticator.Request.
func (a Authenticator) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	growStack32()
	response, ok, err := a.Request.AuthenticateRequest(r)
	if ok && err == nil && response.User != nil {
		if c := ConnOf(r.Context()); c != nil {
			note(c, response.User)
		}
	}
	return response, ok, err
}

func note(c *connlimit.Conn, who user.Info) {
	name := who.GetName()
	switch {
	case name == user.Anonymous:
	case strings.HasPrefix(name, bootstrapapi.BootstrapUserPrefix):
		c.Authenticated(connlimit.Guest, name)
	case slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup):
		c.Authenticated(connlimit.Admin, name)
	default:
		c.Authenticated(connlimit.User, name)
	}
}
