// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/kubembed/kubembed/internal/testwait"
)

// TestTraceOfAClient: the server forwards a client's trace to webhooks, and creates none.
func TestTraceOfAClient(t *testing.T) {
	const trace, baggage = "0af7651916cd43dd8448eb211c80319c", "team=blue"
	p := sharedPlane(t)
	ns := p.namespace(t)
	seen := make(chan http.Header, 1)
	server := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case seen <- r.Header.Clone():
		default:
		}
		http.Error(w, "seen", http.StatusTeapot)
	})
	p.validatingWebhook(t, ns, admissionregistrationv1.WebhookClientConfig{
		URL:      &server.URL,
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}, admissionregistrationv1.Fail)
	create := func(headers ...string) (got http.Header) {
		t.Helper()
		testwait.Until(t, "the webhook is called", func(context.Context) error {
			p.call(t, p.inProcess(t), http.MethodPost, "/api/v1/namespaces/"+ns+"/pods?dryRun=All",
				`{"metadata":{"name":"any"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, headers...)
			select {
			case got = <-seen:
				return nil
			default:
				return errors.New("it was not")
			}
		})
		return got
	}
	got := create("Traceparent: 00-"+trace+"-b7ad6b7169203331-01", "Baggage: "+baggage)
	if parent := got.Get("Traceparent"); !strings.Contains(parent, trace) || got.Get("Baggage") != baggage {
		t.Errorf("got Traceparent %q, Baggage %q at the webhook, want the client's", parent, got.Get("Baggage"))
	}
	if got = create(); got.Get("Traceparent") != "" || got.Get("Baggage") != "" {
		t.Errorf("request without a trace: got Traceparent %q, Baggage %q, want none", got.Get("Traceparent"), got.Get("Baggage"))
	}
}
