// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/pkg/pki"
)

// A server with the serving certificate identifies a client by its kubeconfig.
func Example() {
	p, err := pki.Open(pki.Config{}) // in memory
	if err != nil {
		log.Fatal(err)
	}
	serving, err := p.Serving().TLS()
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject := r.TLS.PeerCertificates[0].Subject
		_, _ = fmt.Fprintf(w, "hello %s of %s", subject.CommonName, subject.Organization)
	}))
	clientCAs := x509.NewCertPool()
	clientCAs.AppendCertsFromPEM(p.CABundle())
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{serving},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clientCAs,
	}
	server.StartTLS()
	defer server.Close()

	jane, err := p.IssueClient("jane", []string{"admins"}, 0)
	if err != nil {
		log.Fatal(err)
	}
	kubeconfig := pki.Kubeconfig(server.URL, p.CABundle(), "jane", jane)
	config, err := clientcmd.NewDefaultClientConfig(*kubeconfig, nil).ClientConfig()
	if err != nil {
		log.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseIdleConnections()
	response, err := client.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(body))
	// Output: hello jane of [admins]
}
