// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestHandlerInAnotherControlPlane: a request for the inner one passes the filters of
// both, and both have it in their audit logs.
func TestHandlerInAnotherControlPlane(t *testing.T) {
	var audited [2]atomic.Int64
	sink := func(i int) []apiserver.AuditSink {
		return []apiserver.AuditSink{{Name: "counting", MaxBatchSize: 1, Events: func(_ context.Context, events []auditv1.Event) error {
			for _, event := range events {
				if strings.HasSuffix(event.RequestURI, "/configmaps/nested") {
					audited[i].Add(1)
				}
			}
			return nil
		}}}
	}
	inner := startPlane(t, func(c *apiserver.Config) { c.Audit.Sinks = sink(0) })
	outer := startPlane(t, func(c *apiserver.Config) {
		c.PKI = inner.pki
		c.Audit.Sinks = sink(1)
		c.Serving.Handlers = map[string]http.Handler{"/inner/": http.StripPrefix("/inner", inner.Handler())}
	})
	pair, err := inner.pki.IssueClient("root", []string{"system:masters"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	client := inner.httpClient(t, pair)
	if err := inner.configMap(t, "nested"); err != nil {
		t.Fatal(err)
	}
	const path = "/api/v1/namespaces/default/configmaps/nested"
	outer.call(t, client, http.MethodGet, "/inner"+path, "").want(t, http.StatusOK)
	outer.call(t, client, http.MethodGet, path, "").want(t, http.StatusNotFound)
	testwait.Until(t, "the requests are in the audit logs", func(context.Context) error {
		if in, out := audited[0].Load(), audited[1].Load(); in < 1 || out < 2 {
			return fmt.Errorf("%d events of the inner control plane, %d of the outer one", in, out)
		}
		return nil
	})
}
