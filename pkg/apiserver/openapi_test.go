// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
)

type openAPIRoot struct {
	Paths map[string]struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	} `json:"paths"`
}

func TestOpenAPIV3Root(t *testing.T) {
	p := sharedPlane(t)
	var root openAPIRoot
	unmarshal(t, p.get(t, "/openapi/v3").want(t, http.StatusOK).body, &root)
	for _, gv := range defaultGroupVersions() {
		path := "apis/" + gv
		if gv == "v1" {
			path = "api/v1"
		}
		entry, ok := root.Paths[path]
		if !ok {
			t.Errorf("%s is not listed", path)
			continue
		}
		if !strings.HasPrefix(entry.ServerRelativeURL, "/openapi/v3/"+path) {
			t.Errorf("%s: got URL %s, want one below /openapi/v3", path, entry.ServerRelativeURL)
		}
	}
}

// TestOpenAPIV3Documents follows each link of the root: all listed documents are served,
// and are OpenAPI.
func TestOpenAPIV3Documents(t *testing.T) {
	p := sharedPlane(t)
	var root openAPIRoot
	unmarshal(t, p.get(t, "/openapi/v3").want(t, http.StatusOK).body, &root)
	for path, entry := range root.Paths {
		if strings.Contains(path, "example.com") {
			continue // another test's CRD, which it may delete
		}
		var document struct {
			OpenAPI string                     `json:"openapi"`
			Paths   map[string]json.RawMessage `json:"paths"`
		}
		unmarshal(t, p.get(t, entry.ServerRelativeURL).want(t, http.StatusOK).body, &document)
		if !strings.HasPrefix(document.OpenAPI, "3.") || len(document.Paths) == 0 {
			t.Errorf("%s: got version %q and %d paths, want 3.x and some", path, document.OpenAPI, len(document.Paths))
		}
		for described := range document.Paths {
			if !strings.HasPrefix(described, "/"+path) && path != "version" {
				t.Errorf("%s: got path %s of another group version", path, described)
			}
		}
	}
}

func TestOpenAPIV3Schemas(t *testing.T) {
	p := sharedPlane(t)
	for path, want := range map[string]string{
		"apis/apps/v1":                   "io.k8s.api.apps.v1.Deployment",
		"api/v1":                         "io.k8s.api.core.v1.Pod",
		"apis/apiextensions.k8s.io/v1":   "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
		"apis/apiregistration.k8s.io/v1": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
	} {
		var document struct {
			Components struct {
				Schemas map[string]struct {
					Properties map[string]json.RawMessage `json:"properties"`
				} `json:"schemas"`
			} `json:"components"`
		}
		unmarshal(t, p.get(t, "/openapi/v3/"+path).want(t, http.StatusOK).body, &document)
		if _, ok := document.Components.Schemas[want].Properties["spec"]; !ok {
			t.Errorf("%s has no %s with a spec", path, want)
		}
	}
}

func TestOpenAPIV3NotModified(t *testing.T) {
	p := sharedPlane(t)
	a := p.get(t, "/openapi/v3/apis/apps/v1").want(t, http.StatusOK)
	tag := a.header.Get("ETag")
	if tag == "" {
		t.Fatal("got no ETag")
	}
	p.get(t, "/openapi/v3/apis/apps/v1", "If-None-Match: "+tag).want(t, http.StatusNotModified)
	p.get(t, "/openapi/v3/apis/apps/v1", `If-None-Match: "other"`).want(t, http.StatusOK)
}

func TestOpenAPIV3Protobuf(t *testing.T) {
	p := sharedPlane(t)
	a := p.get(t, "/openapi/v3/apis/apps/v1", "Accept: application/com.github.proto-openapi.spec.v3.v1.0+protobuf").want(t, http.StatusOK)
	if json.Valid([]byte(a.body)) || !strings.Contains(a.body, "Deployment") {
		t.Errorf("got %.100q, want protobuf with Deployments", a.body)
	}
}

func TestOpenAPIV3Unknown(t *testing.T) {
	p := sharedPlane(t)
	for _, path := range []string{"apis/unknown/v1", "apis/apps/v9", "apis/apps/v1/deployments", ""} {
		if a := p.get(t, "/openapi/v3/"+path); a.status != http.StatusNotFound {
			t.Errorf("%q: got HTTP %d, want 404", path, a.status)
		}
	}
}

func TestOpenAPIV2(t *testing.T) {
	p := sharedPlane(t)
	a := p.get(t, "/openapi/v2").want(t, http.StatusOK)
	var document struct {
		Swagger     string                     `json:"swagger"`
		Definitions map[string]json.RawMessage `json:"definitions"`
		Paths       map[string]json.RawMessage `json:"paths"`
	}
	unmarshal(t, a.body, &document)
	if document.Swagger != "2.0" {
		t.Errorf("got version %q, want 2.0", document.Swagger)
	}
	for _, name := range []string{
		"io.k8s.api.core.v1.Pod", "io.k8s.api.apps.v1.Deployment",
		"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
		"io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
	} {
		if document.Definitions[name] == nil {
			t.Errorf("definition %s is missing", name)
		}
	}
	if document.Paths["/api/v1/namespaces/{namespace}/pods"] == nil || document.Paths["/apis/apps/v1/namespaces/{namespace}/deployments"] == nil {
		t.Error("paths of pods or Deployments are missing")
	}
	p.get(t, "/openapi/v2", "If-None-Match: "+a.header.Get("ETag")).want(t, http.StatusNotModified)
	binary := p.get(t, "/openapi/v2", "Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf").want(t, http.StatusOK)
	if json.Valid([]byte(binary.body)) || !strings.Contains(binary.body, "io.k8s.api.core.v1.Pod") {
		t.Errorf("got %.100q, want protobuf with pods", binary.body)
	}
}

// TestOpenAPIManyFirstRequests: the documents are built on the first request. The list of
// documents changes meanwhile, when upstream gets their hashes.
func TestOpenAPIManyFirstRequests(t *testing.T) {
	p := startPlane(t)
	client := p.inProcess(t)
	var askers sync.WaitGroup
	for _, path := range []string{"/openapi/v3", "/openapi/v3/apis/apps/v1", "/openapi/v3/api/v1", "/openapi/v2"} {
		var mu sync.Mutex
		bodies := map[string]int{}
		for range 4 {
			askers.Go(func() {
				a := p.call(t, client, http.MethodGet, path, "")
				mu.Lock()
				defer mu.Unlock()
				bodies[a.body]++
				if a.status != http.StatusOK || len(bodies) > 1 && path != "/openapi/v3" {
					t.Errorf("%s: got HTTP %d and %d different documents, want 200 and one", path, a.status, len(bodies))
				}
			})
		}
	}
	askers.Wait()
}

// TestOpenAPIOfManyServers: servers of one process share definitions, and may build
// documents from them at the same time.
func TestOpenAPIOfManyServers(t *testing.T) {
	var askers sync.WaitGroup
	for _, p := range []*plane{startPlane(t), startPlane(t)} {
		askers.Go(func() {
			for _, path := range []string{"/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1", "/openapi/v2"} {
				if a := p.call(t, p.inProcess(t), http.MethodGet, path, ""); a.status != http.StatusOK {
					t.Errorf("%s: got HTTP %d, want 200", path, a.status)
				}
			}
		})
	}
	askers.Wait()
}
