// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// APIServices are aggregated APIs to register, and their server.
type APIServices struct {
	// Paths are files and directories. In a directory the files .yaml, .yml and .json
	// are read, without subdirectories. Kinds other than APIService are left out. A path
	// that is missing or has no APIService is an error.
	Paths []string

	// FS is the file system of Paths, like an embed.FS. With FS and no Paths, it is
	// read whole, with all directories. If nil, the disk, where Paths are relative to
	// the directory of the package under test.
	FS fs.FS

	// Manifests are the contents of such files.
	Manifests [][]byte

	// Objects are APIServices as Go values. They are not changed.
	Objects []*apiregistrationv1.APIService

	// Handler serves the APIs over TLS on its own port. Request.TLS has the client
	// certificate of the front proxy. The test logs a panic of Handler. If nil, the test
	// starts a server itself with the Host, Port and CertDir of the AggregatedServer,
	// and then calls WaitAvailable. Servers made with k8s.io/apiserver need this: they
	// read the CA of the front proxy when they start to serve.
	Handler http.Handler

	// ReadyTimeout bounds AggregatedServer.WaitReady, and the time until the APIs are
	// available after that. If zero, ten seconds each.
	ReadyTimeout time.Duration
}

// AggregatedServer is the server of registered APIs. It runs APIServices.Handler, or the
// test starts it.
//
// The server learns the user of a request from the headers of the front proxy. The CA of
// the front proxy is in the ConfigMap extension-apiserver-authentication in kube-system,
// which the DelegatingAuthenticationOptions of k8s.io/apiserver read with a kubeconfig
// (ControlPlane.Kubeconfig):
//
//	serving.BindAddress, serving.BindPort = net.ParseIP(server.Host), server.Port
//	serving.ServerCert.CertKey.CertFile = filepath.Join(server.CertDir, "tls.crt")
//	serving.ServerCert.CertKey.KeyFile = filepath.Join(server.CertDir, "tls.key")
//	authentication.RemoteKubeConfigFile = kubeconfig
//	authorization.RemoteKubeConfigFile = kubeconfig
type AggregatedServer struct {
	*LocalServer
	installed *installedAPIServices
}

// InstallAPIServices registers aggregated APIs. Each APIService gets the server in
// place of its Service, and the server's caBundle. With a Handler the APIs are
// available and in discovery when InstallAPIServices returns. A problem fails the test
// and installs nothing: the message names the file.
//
// At the end of the test the APIServices are removed, and the server is closed when the
// APIs are no longer served. An APIService that another test has installed and not yet
// removed is an error, which names that test.
func (cp *ControlPlane) InstallAPIServices(t TB, services APIServices) *AggregatedServer {
	t.Helper()
	cp.requireLive(t)
	installed, err := cp.plane.installAPIServices(context.Background(), ownerOf(t), "APIServices", services)
	if err != nil {
		t.Fatalf("controlplanetest: install APIServices: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		if err := installed.remove(context.Background(), cp.endsWith(t)); err != nil {
			t.Errorf("controlplanetest: remove APIServices of %s: %v", t.Name(), err)
		}
	})
	return installed.server
}

// WaitAvailable returns when the server answers and its APIs are available and in
// discovery. On a timeout the test fails: the message has the files, the address, and the
// reason that the API server gives.
func (s *AggregatedServer) WaitAvailable(t TB) {
	t.Helper()
	if err := s.installed.waitAvailable(context.Background()); err != nil {
		t.Fatalf("controlplanetest: %v", err)
	}
}

var (
	apiServiceKind     = apiregistrationv1.SchemeGroupVersion.WithKind("APIService")
	apiServiceResource = schema.GroupResource{Group: apiregistrationv1.GroupName, Resource: "apiservices"}
)

// read returns each registration once, and all problems that can be found without a
// server.
func (a APIServices) read(field string) ([]registration, error) {
	var found []registration
	var errs []error
	manifests, err := manifestSources{field: field, paths: a.Paths, fsys: a.FS, bytes: a.Manifests}.read(apiServiceKind)
	if err != nil {
		errs = append(errs, err)
	}
	for _, m := range manifests {
		service := &apiregistrationv1.APIService{}
		if err := m.into(service); err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, registration{service, apiServiceResource, m.String()})
	}
	for i, service := range a.Objects {
		if service == nil {
			errs = append(errs, fmt.Errorf("%s.Objects[%d] is nil", field, i))
			continue
		}
		found = append(found, registration{service.DeepCopy(), apiServiceResource, fmt.Sprintf("%s.Objects[%d] %q", field, i, service.Name)})
	}
	for _, r := range found {
		if r.object.(*apiregistrationv1.APIService).Spec.Service == nil {
			errs = append(errs, fmt.Errorf("%s: spec.service is missing: an APIService without it is served by the control plane itself", r.from))
		}
	}
	if len(found) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s has no Paths, FS, Manifests or Objects", field))
	}
	unique, err := uniqueRegistrations(found)
	if err != nil {
		errs = append(errs, err)
	}
	return unique, errors.Join(errs...)
}
