// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"testing"
	"testing/synctest"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission/configuration"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"

	"github.com/kubembed/kubembed/internal/apiserver/informers"
)

// TestWebhookSource verifies that upstream's plugins still have the field that
// webhookSource reads.
func TestWebhookSource(t *testing.T) {
	t.Parallel()
	const look = "see k8s.io/apiserver/pkg/admission/plugin/webhook/generic/webhook.go: Dispatch takes the webhooks from Webhook.hookSource, which is, or includes, Webhook.apiSource"
	mutating, err := mutatingwebhook.NewMutatingWebhook(nil)
	if err != nil {
		t.Fatal(err)
	}
	validating, err := validatingwebhook.NewValidatingAdmissionWebhook(nil)
	if err != nil {
		t.Fatal(err)
	}
	if webhookSource(mutating.Webhook) == nil || webhookSource(validating.Webhook) == nil {
		t.Error(look)
	}
}

// pausedIndexer blocks in List, after it has read the objects, until the test continues
// it.
type pausedIndexer struct {
	cache.Indexer
	read, resume chan struct{}
}

func (i pausedIndexer) List() []any {
	all := i.Indexer.List()
	select {
	case i.read <- struct{}{}:
		<-i.resume
	default:
	}
	return all
}

type pausedInformer struct {
	*informers.Tracked
	indexer pausedIndexer
}

func (i pausedInformer) GetIndexer() cache.Indexer { return i.indexer }

// TestStaleWebhooks verifies that inForce finds and drops the old webhooks that a request
// puts back into upstream's cache when it has read the configuration before a change.
func TestStaleWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := cachetesting.NewFakeControllerSource()
		defer source.Shutdown()
		factory := clientgoinformers.NewSharedInformerFactory(nil, 0)
		read, resume := make(chan struct{}), make(chan struct{})
		var tracked *informers.Tracked
		factory.InformerFor(&admissionregistrationv1.MutatingWebhookConfiguration{}, func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
			inner := cache.NewSharedIndexInformer(source, &admissionregistrationv1.MutatingWebhookConfiguration{}, 0, cache.Indexers{})
			tracked = informers.NewTracked(inner)
			return pausedInformer{tracked, pausedIndexer{inner.GetIndexer(), read, resume}}
		})
		plugin := webhookPlugin{configuration.NewMutatingWebhookConfigurationManager(factory, nil), tracked}
		stop := make(chan struct{})
		defer func() { close(stop); synctest.Wait() }()
		go tracked.Run(stop)
		config := func(path string) *admissionregistrationv1.MutatingWebhookConfiguration {
			url := "https://127.0.0.1/" + path
			return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Webhooks: []admissionregistrationv1.MutatingWebhook{
				{Name: "w.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url}},
			}}
		}
		source.Add(config("old"))
		synctest.Wait()
		done := make(chan struct{})
		go func() { plugin.source.Webhooks(); close(done) }()
		<-read
		source.Modify(config("new"))
		synctest.Wait()
		resume <- struct{}{}
		<-done
		called := func() string {
			webhook, _ := plugin.source.Webhooks()[0].GetMutatingWebhook()
			return *webhook.ClientConfig.URL
		}
		if called() != "https://127.0.0.1/old" {
			t.Fatal("upstream no longer puts old webhooks back: remove webhookPlugin")
		}
		if plugin.inForce() {
			t.Error("inForce: got true with old webhooks, want false")
		}
		if !plugin.inForce() || called() != "https://127.0.0.1/new" {
			t.Error("after inForce has dropped the old webhooks: calls", called())
		}
	})
}
