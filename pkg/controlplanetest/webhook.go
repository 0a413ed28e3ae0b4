package controlplanetest

import (
	"context"
	"io/fs"
	"net/http"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// Webhooks says which webhooks to install, where they are read from, and who
// serves them.
type Webhooks struct {
	// Paths are files, and directories of which the files .yaml, .yml and .json are
	// read, without the directories below: those that controller-gen writes to, like
	// config/webhook. Kinds other than ValidatingWebhookConfiguration and
	// MutatingWebhookConfiguration are left out. A path that is missing or has
	// neither is an error.
	Paths []string

	// FS is what Paths are in, an embed.FS for example. With FS and no Paths, it
	// is read whole, with all directories. If nil, the disk, where Paths are relative
	// to the directory of the package under test.
	FS fs.FS

	// Manifests are the contents of such files.
	Manifests [][]byte

	// Validating and Mutating are configurations as Go values. They are not
	// changed.
	Validating []*admissionregistrationv1.ValidatingWebhookConfiguration
	Mutating   []*admissionregistrationv1.MutatingWebhookConfiguration

	// Conversion names the CustomResourceDefinitions whose objects the server
	// converts, under /convert unless they say otherwise: "foos.example.com". They
	// are installed before. Definitions that ask for conversion by a webhook behind
	// a Service need not be named. Others keep the conversion that they have.
	Conversion []string

	// Namespaces confines the webhooks of the configurations to objects in these
	// namespaces, for tests that share a control plane and run in parallel. The
	// names of the configurations get the suffix "-" and the first of them, so that
	// each test has its own. Cluster-scoped objects, apart from the namespaces
	// themselves, and conversion cannot be confined. If empty, all namespaces.
	Namespaces []string

	// Handler answers the webhooks, over TLS on a port of its own. With
	// controller-runtime that is the WebhookMux of the manager's webhook server. A
	// panic in it is in the log of the test. If nil, the test starts a server
	// itself, with the Host, Port and CertDir of the WebhookServer.
	Handler http.Handler

	// ReadyTimeout bounds WebhookServer.WaitReady. If zero, ten seconds.
	ReadyTimeout time.Duration
}

// WebhookServer is the server of webhooks that were installed. It is that of
// Webhooks.Handler, or one that the test starts itself. With controller-runtime:
//
//	server := cp.InstallWebhooks(t, controlplanetest.Webhooks{Paths: []string{"../config/webhook"}})
//	mgr, err := ctrl.NewManager(cp.ClientConfig(), ctrl.Options{
//		WebhookServer: webhook.NewServer(webhook.Options{Host: server.Host, Port: server.Port, CertDir: server.CertDir}),
//	})
//	... // register the webhooks, start the manager
//	server.WaitReady(t)
//
// Until then, requests that a webhook with failurePolicy Fail matches are refused.
type WebhookServer struct{ *LocalServer }

// InstallWebhooks creates the webhook configurations. A clientConfig with a Service
// gets the URL of the server, with the path of the Service, and its caBundle; one
// with a URL is left as it is. When it returns, the next request that matches is
// subject to the webhooks. What is wrong fails the test, and nothing is installed:
// the message has all problems, each with the file.
//
// At the end of the test the server is closed and the configurations are removed:
// the next test on the control plane is not subject to them. A configuration that
// another test has installed and not yet removed is an error, which names that
// test; see Namespaces.
func (cp *ControlPlane) InstallWebhooks(t TB, webhooks Webhooks) *WebhookServer {
	t.Helper()
	cp.requireLive(t)
	installed, err := cp.plane.installWebhooks(context.Background(), ownerOf(t), "Webhooks", webhooks)
	if err != nil {
		t.Fatalf("controlplanetest: install webhooks: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		if err := installed.remove(context.Background(), cp.endsWith(t)); err != nil {
			t.Errorf("controlplanetest: remove webhooks of %s: %v", t.Name(), err)
		}
	})
	return installed.server
}

// WebhookServer returns the server of Config.Webhooks, or nil if there are none.
func (cp *ControlPlane) WebhookServer() *WebhookServer { return cp.plane.webhooks.server() }

// endsWith tells whether the control plane stops right after the cleanup of t, so
// that nothing need be removed from it.
func (cp *ControlPlane) endsWith(t TB) bool {
	// That of a failed test may be kept, and used by hand.
	return !cp.shared && cp.test == t.Name() && !t.Failed()
}
