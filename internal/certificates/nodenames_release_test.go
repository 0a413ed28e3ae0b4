// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// TestReleaseByResourceVersion: a Node that is deleted before its UID is in the record
// releases the name if it was deleted after the reservation, and not before. A real API
// server cannot produce this order reliably.
func TestReleaseByResourceVersion(t *testing.T) {
	for _, c := range []struct {
		name              string
		deletedAt         string // resource version; reserved at 50
		seen, revoked     bool
		left              time.Duration
		released, deleted bool
	}{
		{name: "no Node yet", left: time.Hour},
		{name: "deleted before", deletedAt: "49", left: time.Hour},
		{name: "deleted after", deletedAt: "51", left: time.Hour, deleted: true},
		{name: "deleted while nothing ran", seen: true, left: time.Hour, deleted: true},
		{name: "lapsed", left: -time.Hour, deleted: true},
		{name: "revoked once", deletedAt: "51", revoked: true, left: time.Hour, released: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := metav1.Now()
			record := &nodeidentity.Record{Node: "n1"}
			record.Reserve(nodeidentity.Key{SHA256: "a", By: "system:bootstrap:abcdef", Since: now, NotAfter: metav1.NewTime(now.Add(c.left))})
			if c.seen {
				record.NodeUID = "1"
			}
			if c.revoked {
				record.Revoked = &now
			}
			secret, err := nodeidentity.New(record)
			if err != nil {
				t.Fatal(err)
			}
			secret.ResourceVersion = "50"
			client := fake.NewClientset(secret)
			factory := informers.NewSharedInformerFactory(client, 0)
			nodes, records := factory.Core().V1().Nodes().Informer(), factory.Core().V1().Secrets().Informer()
			if err := records.GetStore().Add(secret); err != nil {
				t.Fatal(err)
			}
			r := newReleaser(client, zap.NewNop(), nodes, records)
			defer r.queue.ShutDown()
			if c.deletedAt != "" {
				r.nodeDeleted(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", ResourceVersion: c.deletedAt}})
			}
			if err := r.reconcile(t.Context(), "n1"); err != nil {
				t.Fatal(err)
			}
			stored, err := client.CoreV1().Secrets(secret.Namespace).Get(t.Context(), secret.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) != c.deleted {
				t.Fatalf("%v", err)
			}
			if err == nil {
				if record, err = nodeidentity.Load(stored); err != nil || record.Reserved == c.released || !record.Has("a") {
					t.Errorf("%+v, %v", record, err)
				}
			}
			if len(r.deleted) > 0 {
				t.Errorf("got remaining deletions %v, want none", r.deleted)
			}
		})
	}
}
