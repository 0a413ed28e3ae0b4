// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	kmsapi "k8s.io/kms/apis/v2"
	"k8s.io/kms/pkg/service"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// kmsPlugin is a KMS plugin of version 2 on its own socket. It encrypts with an exclusive
// or.
type kmsPlugin struct {
	// generation is the number of keys so far. The keys up to forgotten are destroyed.
	generation, forgotten atomic.Int64

	socket string
	server *grpc.Server
	done   chan struct{}
}

func startKMS(t *testing.T) *kmsPlugin {
	t.Helper()
	dir, err := os.MkdirTemp("", "kms") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	k := &kmsPlugin{socket: filepath.Join(dir, "s")}
	k.generation.Store(1)
	k.serve(t)
	t.Cleanup(func() {
		k.stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return k
}

func (k *kmsPlugin) config() apiserver.KMS { return apiserver.KMS{Endpoint: "unix://" + k.socket} }

func (k *kmsPlugin) serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", k.socket)
	if err != nil {
		t.Fatal(err)
	}
	k.server, k.done = grpc.NewServer(), make(chan struct{})
	kmsapi.RegisterKeyManagementServiceServer(k.server, service.NewGRPCService("", 0, k))
	go func(server *grpc.Server, done chan struct{}) {
		defer close(done)
		_ = server.Serve(listener)
	}(k.server, k.done)
}

func (k *kmsPlugin) stop() {
	k.server.Stop()
	<-k.done
}

func (k *kmsPlugin) Status(context.Context) (*service.StatusResponse, error) {
	return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: fmt.Sprint(k.generation.Load())}, nil
}

func (k *kmsPlugin) Encrypt(_ context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	generation := k.generation.Load()
	return &service.EncryptResponse{Ciphertext: xor(data, generation), KeyID: fmt.Sprint(generation)}, nil
}

func (k *kmsPlugin) Decrypt(_ context.Context, _ string, r *service.DecryptRequest) ([]byte, error) {
	var generation int64
	if _, err := fmt.Sscan(r.KeyID, &generation); err != nil {
		return nil, err
	}
	if generation <= k.forgotten.Load() {
		return nil, errors.New("the key is destroyed")
	}
	return xor(r.Ciphertext, generation), nil
}

func xor(data []byte, generation int64) []byte {
	out := bytes.Clone(data)
	for i := range out {
		out[i] ^= 0x80 ^ byte(generation)
	}
	return out
}
