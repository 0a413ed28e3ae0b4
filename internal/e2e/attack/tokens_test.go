// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// badTokens tries invalid bearer tokens of every kind.
func badTokens(ctx context.Context, t *target, s *stats) {
	good := t.token(joinBodies)
	authorizations := []func() string{
		func() string { return fmt.Sprintf("Bearer %.6s.%s", lower(), good[7:]) },
		func() string { return "Bearer " + good[:7] + lower() },
		func() string { return "Bearer " + good[:len(good)-1] },
		func() string { return "Bearer " + good + "a" },
		func() string { return "Bearer " + strings.ToUpper(good) },
		func() string { return "Bearer " + lower() },
		func() string { return "Bearer " + strings.Repeat("a", 8000) },
		func() string { return "Bearer ../../" + lower() },
		func() string { return "Bearer " },
		func() string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:admin")) },
	}
	guesses(ctx, t, s, authorizations)
}

// badJWTs tries service-account tokens with invalid signatures.
func badJWTs(ctx context.Context, t *target, s *stats) {
	encode := base64.RawURLEncoding.EncodeToString
	jwt := func(header, claims string) func() string {
		return func() string {
			return "Bearer " + encode([]byte(header)) + "." + encode(fmt.Appendf(nil, claims, lower())) + "." + encode([]byte(lower()))
		}
	}
	claims := `{"iss":"https://kubernetes.default.svc.cluster.local","aud":["https://kubernetes.default.svc.cluster.local"],"exp":4102444800,` +
		`"sub":"system:serviceaccount:kube-system:default","jti":"%s","kubernetes.io":{"namespace":"kube-system","serviceaccount":{"name":"default","uid":"x"}}}`
	guesses(ctx, t, s, []func() string{
		jwt(`{"alg":"RS256"}`, claims), jwt(`{"alg":"none"}`, claims), jwt(`{"alg":"HS256"}`, claims), jwt(`{"alg":"ES256","kid":"../ca.key"}`, claims),
		jwt(`{"alg":"RS256"}`, `{"iss":"%s"}`), jwt(`{`, `%s`), func() string { return "Bearer .." + lower() },
	})
}

// lower returns a new random word.
func lower() string { return strings.ToLower(rand.Text()) }

// guesses reads Secrets with the authorizations in turn. The server must accept none.
func guesses(ctx context.Context, t *target, s *stats, authorizations []func() string) {
	hc := browserless()
	defer hc.CloseIdleConnections()
	parallel(2, func() {
		next := 0
		rounds(ctx, 5*time.Millisecond, func() {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL+"/api/v1/secrets", nil)
			if err != nil {
				panic(err)
			}
			authorization := authorizations[next%len(authorizations)]()
			next++
			r.Header.Set("Authorization", authorization)
			s.tries.Add(1)
			response, err := hc.Do(r)
			if err != nil {
				return
			}
			defer func() { _ = response.Body.Close() }()
			_, _ = io.Copy(io.Discard, response.Body)
			s.answered.Add(1)
			if response.StatusCode < 300 {
				s.win("%s with %.40q", response.Status, authorization)
			}
		})
	})
}
