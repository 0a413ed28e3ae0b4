package apiserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// AdminUser is the user of ClientConfig, in group system:masters.
const AdminUser = "kubernetes-admin"

// insecureUser is who a request over the insecure listener is, named as it
// was when kube-apiserver still had one.
const insecureUser = "system:unsecured"

// secrets are bearer tokens that never leave the process.
type secrets struct {
	loopback, admin, insecure string
}

func newSecrets() (s secrets, err error) {
	for _, token := range []*string{&s.loopback, &s.admin, &s.insecure} {
		if *token, err = newToken(); err != nil {
			return secrets{}, err
		}
	}
	return s, nil
}

func newToken() (string, error) {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("apiserver: random token: %w", err)
	}
	return fmt.Sprintf("%x", b), nil
}

// users are who the tokens authenticate.
type users struct {
	mu      sync.RWMutex
	byToken map[string]*user.DefaultInfo
}

// add makes token that of a user.
func (u *users) add(token, name string, groups ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byToken == nil {
		u.byToken = map[string]*user.DefaultInfo{}
	}
	u.byToken[token] = &user.DefaultInfo{Name: name, Groups: append([]string{user.AllAuthenticated}, groups...)}
}

// AuthenticateToken is authenticator.Token.
func (u *users) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	info, ok := u.byToken[token]
	if !ok {
		return nil, false, nil
	}
	return &authenticator.Response{User: info}, true, nil
}
