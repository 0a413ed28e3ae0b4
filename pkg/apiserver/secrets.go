package apiserver

import (
	"crypto/rand"
	"fmt"
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
