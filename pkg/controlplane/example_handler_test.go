// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// A host serves the control plane in its own HTTPS server, beside its own pages.
func ExampleServer_Handler() {
	ctx := context.Background()
	cp, err := controlplane.Start(ctx, controlplane.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cp.Close()

	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			fmt.Fprintln(w, "a page of the host")
			return
		}
		cp.Handler().ServeHTTP(w, r)
	})
	server := httptest.NewUnstartedServer(pages)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert} // kubectl's certificates
	server.StartTLS()
	defer server.Close()

	kubeconfig, err := cp.Kubeconfig("jane", "system:masters")
	if err != nil {
		log.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	config.Host, config.ServerName = server.URL, ""
	config.CAData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	version, err := kubernetes.NewForConfigOrDie(config).Discovery().ServerVersion()
	if err != nil {
		log.Fatal(err)
	}
	page, err := server.Client().Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer page.Body.Close()
	text, _ := io.ReadAll(page.Body)
	fmt.Printf("Kubernetes %s.%s and %s", version.Major, version.Minor, text)
	// Output:
	// Kubernetes 1.37 and a page of the host
}

// A host adds a path behind the authentication and authorization of the API server.
func ExampleConfig_serving() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := apirequest.UserFrom(r.Context())
		fmt.Fprintf(w, "hello %s", who.GetName())
	})
	cp, err := controlplane.Start(context.Background(), controlplane.Config{Serving: apiserver.Serving{
		MinTLSVersion: "VersionTLS13",
		Handlers:      map[string]http.Handler{"/app/": hello},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer cp.Close()
	config := cp.ClientConfig()
	config.Impersonate.UserName, config.Impersonate.Groups = "jane", []string{"system:masters"}
	answer, err := kubernetes.NewForConfigOrDie(config).RESTClient().Get().AbsPath("/app/hello").DoRaw(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(answer))
	// Output:
	// hello jane
}
