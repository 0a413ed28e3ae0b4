// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package oidctest runs OIDC issuers in tests: real TLS, discovery documents, keys and
// tokens.
package oidctest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log" //nolint:depguard // the type that http.Server takes
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Issuer is an OIDC issuer. Its methods are safe for concurrent use.
type Issuer struct {
	t       testing.TB
	address string
	mu      sync.Mutex
	server  *httptest.Server // nil while it is stopped
	ca      []byte
	keys    []key // the last one signs
	fetches int
	held    chan struct{}             // not nil: readers of the keys wait
	logins  map[string]map[string]any // claims by password
}

type key struct {
	id      string
	private *rsa.PrivateKey
}

// New returns an issuer that is not reachable before Start.
func New(t testing.TB) *Issuer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{t: t, address: listener.Addr().String()}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	certificates := httptest.NewTLSServer(http.NotFoundHandler())
	i.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificates.Certificate().Raw})
	certificates.Close()
	i.Rotate()
	t.Cleanup(i.Stop)
	return i
}

// Start returns an issuer that is reachable.
func Start(t testing.TB) *Issuer {
	t.Helper()
	i := New(t)
	i.Start()
	return i
}

// URL is the issuer in tokens.
func (i *Issuer) URL() string { return "https://" + i.address }

// CA is the CA of its serving certificate, in PEM.
func (i *Issuer) CA() string { return string(i.ca) }

// Start makes the issuer reachable.
func (i *Issuer) Start() {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	listener, err := net.Listen("tcp", i.address)
	if err != nil {
		i.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	_ = server.Listener.Close()
	server.Listener = listener
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	i.server = server
}

// Stop makes the issuer unreachable.
func (i *Issuer) Stop() {
	i.mu.Lock()
	server := i.server
	i.server = nil
	i.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

// Rotate signs with a new key. Tokens of earlier keys stay valid.
func (i *Issuer) Rotate() {
	i.t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, key{strconv.Itoa(len(i.keys)), private})
}

// Fetches returns how often the keys were read.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// Hold lets readers of the keys wait for the returned function, or for the end of the
// test.
func (i *Issuer) Hold() (release func()) {
	held := make(chan struct{})
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held = held
	release = sync.OnceFunc(func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.held = nil
		close(held)
	})
	i.t.Cleanup(release) // before Stop, which waits for the readers
	return release
}

// Login lets clients get tokens with the claims at /token, with a password.
func (i *Issuer) Login(password string, claims map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.logins == nil {
		i.logins = map[string]map[string]any{}
	}
	i.logins[password] = claims
}

// token answers OAuth's password grant.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) any {
	i.mu.Lock()
	claims, ok := i.logins[r.PostFormValue("password")]
	i.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		return map[string]string{"error": "invalid_grant"}
	}
	return map[string]string{"token_type": "Bearer", "id_token": i.Token(claims)}
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var document any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		document = map[string]any{
			"issuer": i.URL(), "jwks_uri": i.URL() + "/keys", "token_endpoint": i.URL() + "/token",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		}
	case "/keys":
		document = i.jwks()
		i.mu.Lock()
		held := i.held
		i.mu.Unlock()
		if held != nil {
			<-held
		}
	case "/token":
		document = i.token(w, r)
	default:
		http.NotFound(w, r)
		return
	}
	if err := json.NewEncoder(w).Encode(document); err != nil {
		i.t.Log(err)
	}
}

func (i *Issuer) jwks() any {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fetches++
	var keys []map[string]string
	for _, k := range i.keys {
		public := k.private.PublicKey
		keys = append(keys, map[string]string{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id,
			"n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes()),
		})
	}
	return map[string]any{"keys": keys}
}

// Token returns a signed token with the claims, and iss, iat and exp unless they are in
// claims.
func (i *Issuer) Token(claims map[string]any) string {
	i.t.Helper()
	i.mu.Lock()
	signing := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	all := map[string]any{"iss": i.URL(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	unsigned := i.encodeJSON(map[string]string{"alg": "RS256", "typ": "JWT", "kid": signing.id}) + "." + i.encodeJSON(all)
	digest := sha256.Sum256([]byte(unsigned))
	signature, err := rsa.SignPKCS1v15(rand.Reader, signing.private, crypto.SHA256, digest[:])
	if err != nil {
		i.t.Fatal(err)
	}
	return unsigned + "." + encode(signature)
}

func (i *Issuer) encodeJSON(value any) string {
	i.t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		i.t.Fatal(err)
	}
	return encode(text)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
