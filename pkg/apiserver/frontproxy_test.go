// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// An aggregated API server gets the renewed certificate of the front proxy, and all
// earlier requests succeed.
func TestAggregatedServerSeesRenewedCertificate(t *testing.T) {
	const group = "renewed.example.com"
	clock := clocktesting.NewFakePassiveClock(time.Now().Add(-300 * 24 * time.Hour))
	identities := must(pki.Open(pki.Config{Clock: clock}))(t)
	p := startPlane(t, func(c *apiserver.Config) { c.PKI = identities })
	p.pki = identities
	ns := p.namespace(t)
	server, requests := p.aggregated(t, group)
	p.service(t, ns, server.Listener.Addr())
	p.register(t, group, ns, func(s *apiregistrationv1.APIServiceSpec) { s.InsecureSkipTLSVerify = true })
	p.wantAvailable(t, group, apiregistrationv1.ConditionTrue, "Passed")

	const path = "/apis/" + group + "/v1/gadgets/one"
	testwait.Until(t, "it is proxied", func(context.Context) error {
		if a := p.get(t, path); a.status != http.StatusOK {
			return fmt.Errorf("HTTP %d %.100s", a.status, a.body)
		}
		return nil
	})
	old := must(identities.FrontProxyClient().TLS())(t).Leaf
	if shown := (<-requests).cert; !shown.Equal(old) {
		t.Fatalf("shown: %s", shown.NotAfter)
	}
	clock.SetTime(time.Now())
	if renewed, err := identities.Renew(); err != nil || !renewed {
		t.Fatal(renewed, err)
	}
	if err := p.ReloadIdentities(); err != nil {
		t.Fatal(err)
	}
	want := must(identities.FrontProxyClient().TLS())(t).Leaf
	testwait.Until(t, "the renewed certificate is shown", func(context.Context) error {
		if a := p.get(t, path); a.status != http.StatusOK {
			t.Fatalf("HTTP %d %.100s", a.status, a.body)
		}
		if shown := (<-requests).cert; !shown.Equal(want) {
			return fmt.Errorf("shown: %s", shown.NotAfter)
		}
		return nil
	})
}
