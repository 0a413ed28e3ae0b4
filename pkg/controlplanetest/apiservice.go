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

// APIServices says which aggregated APIs to register, where that is read from, and
// who serves them.
type APIServices struct {
	// Paths are files, and directories of which the files .yaml, .yml and .json are
	// read, without the directories below. Kinds other than APIService are left out. A
	// path that is missing or has none is an error.
	Paths []string

	// FS is what Paths are in, an embed.FS for example. With FS and no Paths, it
	// is read whole, with all directories. If nil, the disk, where Paths are relative
	// to the directory of the package under test.
	FS fs.FS

	// Manifests are the contents of such files.
	Manifests [][]byte

	// Objects are APIServices as Go values. They are not changed.
	Objects []*apiregistrationv1.APIService

	// Handler serves the APIs, over TLS on a port of its own. It finds the client
	// certificate of the front proxy in Request.TLS. A panic in it is in the log of
	// the test. If nil, the test starts a server itself, with the Host, Port and
	// CertDir of the AggregatedServer, and then calls WaitAvailable. That is the way
	// for servers made with k8s.io/apiserver, which read the CA of the front proxy
	// when they begin to serve.
	Handler http.Handler

	// ReadyTimeout bounds AggregatedServer.WaitReady, and the time until its APIs
	// are available after that. If zero, ten seconds each.
	ReadyTimeout time.Duration
}

// AggregatedServer is the server of APIs that were registered. It is that of
// APIServices.Handler, or one that the test starts itself.
//
// Users are known to it by the headers of the front proxy, whose CA is where
// aggregated servers look for it: in the ConfigMap
// extension-apiserver-authentication in kube-system, which the
// DelegatingAuthenticationOptions of k8s.io/apiserver read with a kubeconfig
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

// InstallAPIServices registers aggregated APIs, each with the server in place of
// its Service, and the caBundle for it. With a Handler they are available and in
// discovery when it returns. What is wrong fails the test, and nothing is
// installed: the message names the file.
//
// At the end of the test the registrations are removed, and the server is closed
// when the APIs are served no more. An APIService that another test has installed
// and not yet removed is an error, which names that test.
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
// discovery. If that takes too long, the test fails: the message names the files,
// the address, and the reason that the API server gives.
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

// read returns the registrations, each once, and all problems that can be seen
// without a server.
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
	for i, one := range a.Objects {
		if one == nil {
			errs = append(errs, fmt.Errorf("%s.Objects[%d] is nil", field, i))
			continue
		}
		found = append(found, registration{one.DeepCopy(), apiServiceResource, fmt.Sprintf("%s.Objects[%d] %q", field, i, one.Name)})
	}
	for _, r := range found {
		if r.object.(*apiregistrationv1.APIService).Spec.Service == nil {
			errs = append(errs, fmt.Errorf("%s: spec.service is missing: without it, it is an API of the control plane itself", r.from))
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
