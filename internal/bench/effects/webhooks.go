// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package effects

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
)

// served is an HTTPS server of this process, to which the API server connects.
type served struct {
	port   int
	bundle string // its certificate, in base64
}

// serve serves handler on a loopback address until the end.
func (t *trial) serve(handler http.Handler) (s served) {
	if t.err != nil {
		return s
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.fail(err)
		return s
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.fail(err)
		return s
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.fail(err)
		return s
	}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)} //nolint:gosec // for one client
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.cleanup(func(context.Context) error {
		err := server.Close()
		<-ended
		return err
	})
	address, _ := listener.Addr().(*net.TCPAddr)
	return served{port: address.Port, bundle: base64.StdEncoding.EncodeToString(certificate)}
}

var webhooks = []effect{
	{name: "validating webhook created → called", try: func(t *trial) {
		s := t.serve(http.HandlerFunc(refuse))
		t.begin()
		t.register(s)
		t.repeat(t.denied)
	}},
	{name: "validating webhook deleted → no longer called", try: func(t *trial) {
		t.register(t.serve(http.HandlerFunc(refuse)))
		t.repeat(t.denied)
		t.begin()
		t.delete(validatingWebhooks, t.policy(), background)
		t.repeat(not(t.denied))
	}},
}

func (t *trial) register(s served) {
	t.create(validatingWebhooks, t.policy(), `
webhooks:
- name: refuse.effects.example.com
  clientConfig: {url: "https://127.0.0.1:%d/", caBundle: %s}
  admissionReviewVersions: [v1]
  sideEffects: None
  objectSelector: {matchLabels: {probe-of: %s}}
  rules:
  - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}`, s.port, s.bundle, t.policy())
}

// refuse is a webhook that refuses everything.
func refuse(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprint("want an AdmissionReview: ", err), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden}}
	review.Request = nil
	reply(w, review)
}

func reply(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object)
}
