// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// TestBudgetsOfOtherEtcds: a node that has written its share of Events, which have an
// etcd of their own, still writes pods, and the other way round.
func TestBudgetsOfOtherEtcds(t *testing.T) {
	node := requester{name: "system:node:one", node: true}
	events := &request.RequestInfo{APIVersion: "v1", Resource: "events"}
	pods := &request.RequestInfo{APIVersion: "v1", Resource: "pods", Subresource: "status"}
	for _, test := range []struct{ first, other *request.RequestInfo }{{events, pods}, {pods, events}} {
		s := newStorageBudget(Options{Elsewhere: []schema.GroupResource{{Resource: "events"}}})
		update := func(info *request.RequestInfo, bytes int) error {
			return s.charge(node, info, http.MethodPut)(bytes)
		}
		if err := update(test.first, nodeBurst-updateOverhead); err != nil {
			t.Fatal(err)
		}
		if err := update(test.first, nodeBurst/2); err == nil {
			t.Errorf("%s: beyond the share: no error", test.first.Resource)
		}
		if err := update(test.other, nodeBurst/2); err != nil {
			t.Errorf("%s after %s: %v", test.other.Resource, test.first.Resource, err)
		}
	}
}

// TestPanicOfStorageUsed: the request fails with the name of the field.
func TestPanicOfStorageUsed(t *testing.T) {
	s := newStorageBudget(Options{Used: func() (int64, int64) { panic("secret") }})
	err := s.admit(requester{name: "jane"}, &request.RequestInfo{IsResourceRequest: true, Verb: "create", APIVersion: "v1", Resource: "configmaps"}, http.MethodPost, 1)
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "Config.StorageUsed panicked") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want an internal error with the field and without the value", err)
	}
}
