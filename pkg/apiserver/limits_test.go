// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagemetrics "k8s.io/apiserver/pkg/storage/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestRequestLimits: smaller limits for bodies, patches and watches are in force.
func TestRequestLimits(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.Limits = apiserver.Limits{MaxRequestBodyBytes: 128 << 10, MaxJSONPatchOperations: 3, MinRequestTimeout: time.Second}
	})
	client := p.inProcess(t)
	body := func(name string, bytes int) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"key":%q}}`, name, strings.Repeat("x", bytes))
	}
	const path = "/api/v1/namespaces/default/configmaps"
	p.call(t, client, http.MethodPost, path, body("fits", 120<<10)).want(t, http.StatusCreated)
	p.call(t, client, http.MethodPost, path, body("large", 130<<10)).want(t, http.StatusRequestEntityTooLarge)

	operation := `{"op":"add","path":"/data/key","value":"y"}`
	patch := func(operations int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(operation+",", operations), ",") + "]"
	}
	p.call(t, client, http.MethodPatch, path+"/fits", patch(3), "Content-Type: application/json-patch+json").want(t, http.StatusOK)
	refused := p.call(t, client, http.MethodPatch, path+"/fits", patch(4), "Content-Type: application/json-patch+json").want(t, http.StatusRequestEntityTooLarge)
	if !strings.Contains(refused.body, "4 operations, and 3 is the limit") {
		t.Errorf("got %s, want the number of operations and the limit", refused.body)
	}

	// By default it ends after half an hour.
	watch := must(p.admin().CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{}))(t)
	for range watch.ResultChan() {
	}
}

// TestDisablePriorityAndFairness: requests pass it unless it is switched off, and its
// API is served in both cases.
// TestDisablePriorityAndFairness: requests pass it unless it is switched off, and its API
// is served in both cases.
func TestDisablePriorityAndFairness(t *testing.T) {
	for _, off := range []bool{false, true} {
		p := startPlane(t, func(c *apiserver.Config) { c.Limits.DisablePriorityAndFairness = off })
		answer := p.get(t, "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/catch-all").want(t, http.StatusOK)
		if uid := answer.header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID); (uid == "") != off {
			t.Errorf("off: %v: got the FlowSchema %q of the request", off, uid)
		}
		wantFlags(t, p.get(t, "/flagz", "Accept: text/plain").want(t, http.StatusOK).body,
			map[string]string{"enable-priority-and-fairness": strconv.FormatBool(!off)})
	}
}

// TestFlagzOfLimitsAndAudit: /flagz has the settings of Limits and Audit.
func TestFlagzOfLimitsAndAudit(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.Limits = apiserver.Limits{MinRequestTimeout: time.Minute, DeleteCollectionWorkers: 3, CompactionInterval: time.Hour, WatchCacheSizes: map[string]int{"pods": 1, "leases.coordination.k8s.io": 0}}
		c.Audit = apiserver.Audit{Log: apiserver.AuditLog{Path: filepath.Join(c.Dir, "audit.log"), MaxSizeMB: 1, Compress: true}, Policy: createsOfConfigMaps()}
	})
	body := p.get(t, "/flagz", "Accept: text/plain").want(t, http.StatusOK).body
	wantFlags(t, body, map[string]string{
		"min-request-timeout": "60", "delete-collection-workers": "3", "etcd-compaction-interval": "1h0m0s",
		"watch-cache-sizes": "[leases.coordination.k8s.io#0,pods#1]", "audit-log-compress": "true", "audit-log-mode": "blocking",
	})
}

// TestBodyLimitThatEtcdRefuses: New fails with a limit for bodies that etcd, with its
// default limit, does not take.
func TestBodyLimitThatEtcdRefuses(t *testing.T) {
	_, err := newPlane(t.TempDir(), func(c *apiserver.Config) { c.Limits.MaxRequestBodyBytes = 4 << 20 })
	if !contains(err, "Config.Limits.MaxRequestBodyBytes: etcd does not take requests of 4194304 bytes") || !errors.Is(err, rpctypes.ErrRequestTooLarge) {
		t.Errorf("got error %v, want one about the limits of bodies and of etcd", err)
	}
}

// etcdLists returns how often the process has listed a resource in etcd.
func etcdLists(t *testing.T, resource string) (lists float64) {
	t.Helper()
	for _, family := range must(legacyregistry.DefaultGatherer.Gather())(t) {
		if family.GetName() != "apiserver_storage_list_total" {
			continue
		}
		for _, metric := range family.Metric {
			labels := map[string]string{}
			for _, label := range metric.Label {
				labels[label.GetName()] = label.GetValue()
			}
			if labels["resource"] == resource && labels["storage"] == storagemetrics.StorageBackendEtcd {
				lists += metric.Counter.GetValue()
			}
		}
	}
	return lists
}

// TestWatchCacheSizes: lists at any version come from a watch cache, or from etcd where
// there is none.
func TestWatchCacheSizes(t *testing.T) {
	const lists = 20
	for _, test := range []struct {
		limits apiserver.Limits
		cached map[string]bool
	}{
		{apiserver.Limits{}, map[string]bool{"podtemplates": true, "events": false}},
		{apiserver.Limits{WatchCacheSizes: map[string]int{"podtemplates": 0, "events": 1}}, map[string]bool{"podtemplates": false, "events": true}},
		{apiserver.Limits{DisableWatchCache: true}, map[string]bool{"podtemplates": false, "events": false}},
	} {
		p := startPlane(t, func(c *apiserver.Config) { c.Limits = test.limits })
		must(p.createPod(t, p.namespace(t), pod("works"), metav1.CreateOptions{}))(t)
		for resource, cached := range test.cached {
			list := "/api/v1/namespaces/default/" + resource + "?resourceVersion=0"
			p.get(t, list) // fills the cache
			before := etcdLists(t, resource)
			for range lists {
				p.get(t, list)
			}
			if n := etcdLists(t, resource) - before; cached && n >= lists || !cached && n < lists {
				t.Errorf("%+v: %v of %d lists of %s were of etcd, want the watch cache: %v", test.limits, n, lists, resource, cached)
			}
		}
	}
}

// TestCompactionInterval: old versions are gone soon.
func TestCompactionInterval(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.Limits.CompactionInterval = time.Second })
	if err := p.configMap(t, "old"); err != nil {
		t.Fatal(err)
	}
	revision := must(p.etcd.Client().Get(t.Context(), "/"))(t).Header.Revision
	testwait.Until(t, "the revision is compacted", func(ctx context.Context) error {
		_, err := p.etcd.Client().Put(ctx, "/other", "value") // or there is nothing to compact
		if err == nil {
			_, err = p.etcd.Client().Get(ctx, "/", clientv3.WithRev(revision))
		}
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil
		}
		return fmt.Errorf("not compacted: %w", err)
	})
}

// TestDeleteCollectionWorkers: a collection is deleted by as many workers as configured.
// Deletions wait in a webhook until there were two at the same time.
func TestDeleteCollectionWorkers(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.Limits.DeleteCollectionWorkers = 2 })
	ns := p.namespace(t)
	const objects = 6
	client := p.admin().CoreV1().Pods(ns)
	for i := range objects {
		must(p.createPod(t, ns, pod(fmt.Sprintf("pod-%d", i)), metav1.CreateOptions{}))(t)
	}
	var running atomic.Int64
	two := make(chan struct{})
	once := sync.OnceFunc(func() { close(two) })
	none, fail, timeout := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail, int32(20)
	deletion := podCreation
	deletion.Operations = []admissionregistrationv1.OperationType{admissionregistrationv1.Delete}
	must(p.admin().AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "deletions.example.com", Rules: []admissionregistrationv1.RuleWithOperations{deletion}, TimeoutSeconds: &timeout,
			ClientConfig: webhook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				defer running.Add(-1)
				if running.Add(1) == 2 {
					once()
				}
				select {
				case <-two:
				case <-t.Context().Done():
				}
				return &admissionv1.AdmissionResponse{Allowed: true}
			}),
			FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, NamespaceSelector: inNamespace(ns),
		}},
	}, metav1.CreateOptions{}))(t)
	now := int64(0)
	if err := client.DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if left := must(client.List(t.Context(), metav1.ListOptions{}))(t).Items; len(left) > 0 {
		t.Errorf("%d pods are left, want none", len(left))
	}
}

// TestBadLimits: each error names the Go field.
func TestBadLimits(t *testing.T) {
	for _, test := range []struct {
		limits apiserver.Limits
		want   string
	}{
		{apiserver.Limits{MaxRequestBodyBytes: -1}, "Limits.MaxRequestBodyBytes"},
		{apiserver.Limits{MaxRequestBodyBytes: 1000}, "from 131072 to 10485760"},
		{apiserver.Limits{MaxRequestBodyBytes: 11 << 20}, "Limits.MaxRequestBodyBytes"},
		{apiserver.Limits{MaxJSONPatchOperations: -1}, "Limits.MaxJSONPatchOperations"},
		{apiserver.Limits{MaxJSONPatchOperations: 10_001}, "from 1 to 10000"},
		{apiserver.Limits{MinRequestTimeout: -time.Second}, "Limits.MinRequestTimeout"},
		{apiserver.Limits{MinRequestTimeout: 1500 * time.Millisecond}, "whole seconds"},
		{apiserver.Limits{DeleteCollectionWorkers: -1}, "Limits.DeleteCollectionWorkers"},
		{apiserver.Limits{CompactionInterval: -time.Second}, "Limits.CompactionInterval"},
		{apiserver.Limits{CompactionInterval: time.Millisecond}, "Limits.CompactionInterval"},
		{apiserver.Limits{CompactionInterval: time.Minute, DisableCompaction: true}, "Limits.DisableCompaction: Forbidden: Limits.CompactionInterval is set too"},
		{apiserver.Limits{WatchCacheSizes: map[string]int{"pods": -1}}, "Limits.WatchCacheSizes[pods]: Invalid value: -1: must not be negative; zero is no watch cache"},
		{apiserver.Limits{WatchCacheSizes: map[string]int{"deployments": 0}}, "Limits.WatchCacheSizes[deployments]"},
		{apiserver.Limits{WatchCacheSizes: map[string]int{"pod": 0}}, "is no built-in resource"},
		{apiserver.Limits{WatchCacheSizes: map[string]int{"tokenreviews.authentication.k8s.io": 0}}, "is no built-in resource"},
	} {
		errs := access.ValidateOptional(apiserver.Config{Limits: test.limits})
		if len(errs) != 1 || !contains(errs.ToAggregate(), test.want) {
			t.Errorf("%+v: got errors %v, want one with %q", test.limits, errs, test.want)
		}
	}
	valid := map[string]int{}
	for _, resource := range []string{"pods", "endpoints", "events", "deployments.apps", "leases.coordination.k8s.io", "ingresses.networking.k8s.io",
		"customresourcedefinitions.apiextensions.k8s.io", "apiservices.apiregistration.k8s.io", "storageclasses.storage.k8s.io", "evictions.lifecycle.k8s.io"} {
		valid[resource] = 0
	}
	if errs := access.ValidateOptional(apiserver.Config{Limits: apiserver.Limits{WatchCacheSizes: valid}}); len(errs) > 0 {
		t.Errorf("got errors %v for built-in resources, want none", errs)
	}
}
