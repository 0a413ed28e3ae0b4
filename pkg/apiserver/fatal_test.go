// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	storagevalue "k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// transformers are called while the server is assembled, for the storage of each
// resource.
type transformers func(schema.GroupResource)

func (f transformers) TransformerForResource(resource schema.GroupResource) storagevalue.Transformer {
	f(resource)
	return identity.NewEncryptCheckTransformer()
}

// TestFatalWhileItIsAssembled: New returns a fatal error of upstream. The test runs in a
// separate process, because upstream's goroutines of an incomplete server remain.
func TestFatalWhileItIsAssembled(t *testing.T) {
	fatalInChild(t, newWithFatal)
}

// TestFatalWhileItIsPrepared: so does Start, whose stop does not prepare the chain again.
func TestFatalWhileItIsPrepared(t *testing.T) {
	fatalInChild(t, func(t *testing.T) error {
		_, cfg := parts(t)
		server := must(apiserver.New(cfg))(t)
		if err := server.AddPostStartHook("apiservice-openapi-controller"); err != nil {
			return err
		}
		err := server.Start(t.Context())
		if _, accepts := cfg.Listener.Accept(); !errors.Is(accepts, net.ErrClosed) {
			return fmt.Errorf("the listener is open: %w", accepts)
		}
		return err
	})
}

// fatalInChild calls f in a process of its own, and expects one fatal error.
func fatalInChild(t *testing.T, f func(*testing.T) error) {
	t.Helper()
	const child = "KUBEMBED_APISERVER_TEST_FATAL"
	if os.Getenv(child) != "" {
		fmt.Println(f(t))
		os.Exit(0)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1")
	output, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(output), "apiserver: fatal error of the Kubernetes code") != 1 {
		t.Errorf("%v: %s", err, output)
	}
}

func newWithFatal(t *testing.T) error {
	p := sharedPlane(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, err = apiserver.New(apiserver.Config{
		Listener: listener, Client: p.etcd.Client(), Dial: p.etcd.DialContext, PKI: p.pki, Dir: t.TempDir(), Prefix: "/fatal",
		Transformers: transformers(func(r schema.GroupResource) {
			if r.Resource == "services" {
				klog.Fatal("no way on")
			}
		}),
	})
	if _, accepts := listener.Accept(); !errors.Is(accepts, net.ErrClosed) {
		return fmt.Errorf("the listener is open: %w", accepts)
	}
	return err
}
