// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/user"
)

// administrator accepts the token of the lease. A token is easier to take back than a
// certificate.
type administrator struct{ token atomic.Pointer[string] }

// renew returns the token of a new lease. The former one is no longer accepted.
func (a *administrator) renew() string {
	token := rand.Text()
	a.token.Store(&token)
	return token
}

func (a *administrator) revoke() { a.token.Store(nil) }

func (a *administrator) request() authenticator.Request { return bearertoken.New(a) }

// AuthenticateToken implements authenticator.Token.
func (a *administrator) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	want := a.token.Load()
	if want == nil || subtle.ConstantTimeCompare([]byte(token), []byte(*want)) != 1 {
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: "kubernetes-admin", Groups: []string{user.SystemPrivilegedGroup}}}, true, nil
}
