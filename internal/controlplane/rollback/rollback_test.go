// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package rollback

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/runtime/schema"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // for the keyspace

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/checkpoint"
	"github.com/kubembed/kubembed/internal/keyspace"
	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/pkg/etcd"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

// server records what a rollback tells the API server.
type server struct {
	drained int
	applied []string
	onWrite func()
}

func (s *server) Drain(context.Context) error { s.drained++; return nil }

func (s *server) WaitForStored(_ context.Context, changes []access.StoredChange) error {
	for _, c := range changes {
		s.applied = append(s.applied, c.Key)
	}
	if s.onWrite != nil {
		s.onWrite()
	}
	return nil
}

func (s *server) WaitForAPIs(context.Context, []schema.GroupResource, []schema.GroupVersion) error {
	return nil
}

func newRollback(t *testing.T, keys ...string) (Config, *server) {
	t.Helper()
	member, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	})
	put(t, member.Client(), keys...)
	stored, err := checkpoint.Take(t.Context(), member.Client(), "/registry/")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	return Config{Checkpoint: stored, Client: member.Client(), Keyspace: keyspace.New("/registry"), Server: s,
		Recreated: func(string) bool { return false }}, s
}

func put(t *testing.T, client *clientv3.Client, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := client.Put(t.Context(), "/registry/"+key, `{"spec": "`+key+`"}`); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunOrder: owners go before their dependents, and CRDs after their objects.
func TestRunOrder(t *testing.T) {
	c, s := newRollback(t, "configmaps/default/gone")
	put(t, c.Client, "apiextensions.k8s.io/customresourcedefinitions/widgets.example.com", "pods/default/a", "replicasets/default/a",
		"events/default/new", "masterleases/10.0.0.1")
	if _, err := c.Client.Delete(t.Context(), "/registry/configmaps/default/gone"); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	want := []string{"/registry/replicasets/default/a", "/registry/events/default/new", "/registry/pods/default/a",
		"/registry/configmaps/default/gone", "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com"}
	if !slices.Equal(s.applied, want) {
		t.Errorf("order: got %v, want %v", s.applied, want)
	}
	if s.drained != 2 {
		t.Errorf("waits for writes: got %d, want 2: before the first comparison and before the last", s.drained)
	}
}

// TestRunKeepsWhatIsRecreated verifies that a key which would come back belongs to the
// checkpoint from then on.
func TestRunKeepsWhatIsRecreated(t *testing.T) {
	c, _ := newRollback(t)
	c.Recreated = func(key string) bool { return key == "/registry/serviceaccounts/new/default" }
	put(t, c.Client, "serviceaccounts/new/default", "pods/new/a")
	if err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if !c.Checkpoint.Had("/registry/serviceaccounts/new/default") || c.Checkpoint.Had("/registry/pods/new/a") {
		t.Error("the checkpoint has not just the key that would come back")
	}
}

func TestRunWithoutDifferences(t *testing.T) {
	c, s := newRollback(t, "pods/default/a")
	c.StartupKeys = []string{"/registry/services/specs/default/kubernetes"}
	put(t, c.Client, "services/specs/default/kubernetes")
	if err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if len(s.applied) > 0 || s.drained != 1 {
		t.Errorf("got %d writes after %d waits, want none after one", len(s.applied), s.drained)
	}
}

// TestRunNamesKeysThatKeepChanging: the error is the cause of ctx and names the keys.
func TestRunNamesKeysThatKeepChanging(t *testing.T) {
	c, s := newRollback(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("called off")
	tries := 0
	s.onWrite = func() {
		put(t, c.Client, "pods/default/again")
		if tries++; tries == 3 {
			cancel(cause)
		}
	}
	put(t, c.Client, "pods/default/again")
	err := Run(ctx, c)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "/registry/pods/default/again") {
		t.Errorf("got %v, want the cause of ctx and the key", err)
	}
}
