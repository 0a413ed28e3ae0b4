// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// calls are the calls of a lease by name.
var calls = map[string]func(ctx context.Context, p Plane, w http.ResponseWriter, r *json.Decoder) error{
	protocol.CallKubeconfig: answer(func(_ context.Context, p Plane, q protocol.KubeconfigRequest) (protocol.Data, error) {
		return p.Kubeconfig(q)
	}),
	protocol.CallNodeKubeconfig: answer(func(_ context.Context, p Plane, q protocol.NodeRequest) (protocol.Data, error) {
		return p.NodeKubeconfig(q)
	}),
	protocol.CallJoinKubeconfig: answer(func(ctx context.Context, p Plane, q protocol.JoinRequest) (protocol.Data, error) {
		return p.JoinKubeconfig(ctx, q)
	}),
	protocol.CallRevokeKubeconfig:     do(Plane.RevokeKubeconfig),
	protocol.CallRevokeJoinKubeconfig: do(Plane.RevokeJoinKubeconfig),
	protocol.CallRevokeNode:           do(Plane.RevokeNode),
	protocol.CallServingCertificate: answer(func(_ context.Context, p Plane, q protocol.CertificateRequest) (protocol.KeyPair, error) {
		return p.ServingCertificate(q)
	}),
	protocol.CallNodeServingCertificate: answer(func(_ context.Context, p Plane, q protocol.CertificateRequest) (protocol.KeyPair, error) {
		return p.NodeServingCertificate(q)
	}),
	protocol.CallWaitForInformers: do(Plane.WaitForInformers),
	protocol.CallCheckpoint: answer(func(ctx context.Context, p Plane, _ protocol.Nothing) (protocol.Checkpoint, error) {
		return p.Checkpoint(ctx)
	}),
	protocol.CallRollback: do(Plane.Rollback),
	protocol.CallLog: answer(func(_ context.Context, p Plane, q protocol.LogRequest) (protocol.Log, error) {
		return p.Log(q), nil
	}),
	protocol.CallSnapshot: func(ctx context.Context, p Plane, w http.ResponseWriter, _ *json.Decoder) error {
		var snapshot bytes.Buffer // an error must come before the first byte
		if err := p.Snapshot(ctx, &snapshot); err != nil {
			return err
		}
		_, err := snapshot.WriteTo(w)
		return err
	},
}

// answer returns a call with a request and an answer.
func answer[Q, A any](call func(context.Context, Plane, Q) (A, error)) func(context.Context, Plane, http.ResponseWriter, *json.Decoder) error {
	return func(ctx context.Context, p Plane, w http.ResponseWriter, r *json.Decoder) error {
		var request Q
		if err := r.Decode(&request); err != nil {
			return err
		}
		a, err := call(ctx, p, request)
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(a)
	}
}

// do returns a call with a request and no answer.
func do[Q any](call func(Plane, context.Context, Q) error) func(context.Context, Plane, http.ResponseWriter, *json.Decoder) error {
	return answer(func(ctx context.Context, p Plane, q Q) (protocol.Nothing, error) {
		return protocol.Nothing{}, call(p, ctx, q)
	})
}

func (s *server) call(w http.ResponseWriter, r *http.Request) {
	call := calls[r.PathValue("call")]
	if call == nil {
		fail(w, http.StatusNotFound, fmt.Errorf("there is no call %q", r.PathValue("call")))
		return
	}
	s.mu.Lock()
	l := s.leases[r.PathValue("id")]
	ok := l != nil && l.plane != nil
	s.mu.Unlock()
	if !ok {
		fail(w, http.StatusNotFound, errNoLease)
		return
	}
	end, ok := l.calls.Begin()
	if !ok {
		fail(w, http.StatusNotFound, errNoLease)
		return
	}
	defer end()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	if err := call(ctx, l.plane, w, json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))); err != nil {
		fail(w, http.StatusInternalServerError, err)
	}
}
