// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// InsecureUser is the user of requests over the insecure listener. kube-apiserver used
// this name as long as it had such a listener.
const InsecureUser = "system:unsecured"

// Tokens are bearer tokens that never leave the process.
type Tokens struct {
	Loopback, Admin, Insecure string
}

// NewTokens returns random tokens.
func NewTokens() (t Tokens, err error) {
	for _, token := range []*string{&t.Loopback, &t.Admin, &t.Insecure} {
		if *token, err = NewToken(); err != nil {
			return Tokens{}, err
		}
	}
	return t, nil
}

// NewToken returns a random token.
func NewToken() (string, error) {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("apiserver: random token: %w", err)
	}
	return fmt.Sprintf("%x", b), nil
}

// Users authenticates tokens. The zero value knows none. It is safe for concurrent use.
type Users struct {
	mu      sync.RWMutex
	byToken map[string]*user.DefaultInfo
}

// Add adds the token of a user.
func (u *Users) Add(token, name string, groups ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byToken == nil {
		u.byToken = map[string]*user.DefaultInfo{}
	}
	u.byToken[token] = &user.DefaultInfo{Name: name, Groups: append([]string{user.AllAuthenticated}, groups...)}
}

// AuthenticateToken implements authenticator.Token.
func (u *Users) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	info, ok := u.byToken[token]
	if !ok {
		return nil, false, nil
	}
	return &authenticator.Response{User: info}, true, nil
}
