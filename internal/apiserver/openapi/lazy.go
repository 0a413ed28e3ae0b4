// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	restful "github.com/emicklei/go-restful/v3"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler3"
)

const (
	v2Path = "/openapi/v2"
	v3Path = "/openapi/v3"
)

// lazy serves the OpenAPI documents of the built-in APIs. Upstream's code builds each on
// the first request for it. Upstream builds all of them at start, which takes half a
// second of CPU time that most programs never need.
type lazy struct {
	v2     func() http.Handler
	v3     map[string]func() http.Handler // by group version, like "apis/apps/v1"
	v3Root []byte
}

// InstallLazy installs handlers in place of PrepareRun's. The server must have been
// created with SkipOpenAPIInstallation, and all of its APIs must be installed.
func InstallLazy(server *genericapiserver.GenericAPIServer, v2 *openapicommon.Config, v3 *openapicommon.OpenAPIV3Config) error {
	l := &lazy{v3: map[string]func() http.Handler{}}
	container := server.Handler.GoRestfulContainer
	// Upstream's builders write to maps that the documents share.
	var building sync.Mutex
	l.v2 = sync.OnceValue(func() http.Handler {
		building.Lock()
		defer building.Unlock()
		m := mux.NewPathRecorderMux("openapi-v2")
		routes.OpenAPI{Config: v2}.InstallV2(container, m)
		return m
	})
	root := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for _, service := range container.RegisteredWebServices() {
		path := strings.TrimPrefix(service.RootPath(), "/")
		l.v3[path] = sync.OnceValue(func() http.Handler {
			building.Lock()
			defer building.Unlock()
			single := restful.NewContainer()
			single.Add(service)
			m := mux.NewPathRecorderMux("openapi-v3-" + path)
			routes.OpenAPI{V3Config: v3}.InstallV3(single, m)
			return m
		})
		// Without a hash of the document, which is unknown until the document is built:
		// clients then revalidate it by its ETag.
		root.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: v3Path + "/" + path}
	}
	var err error
	if l.v3Root, err = json.Marshal(root); err != nil {
		return err
	}
	server.Handler.NonGoRestfulMux.Handle(v2Path, l)
	server.Handler.NonGoRestfulMux.Handle(v3Path, l)
	server.Handler.NonGoRestfulMux.HandlePrefix(v3Path+"/", l)
	return nil
}

func (l *lazy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case path == v2Path:
		l.v2().ServeHTTP(w, r)
	case path == v3Path:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(l.v3Root)
	default:
		document, ok := l.v3[strings.TrimPrefix(path, v3Path+"/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		document().ServeHTTP(w, r)
	}
}
