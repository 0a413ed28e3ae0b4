// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"io/fs"
	"net/http"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// Webhooks are webhooks to install, and their server.
type Webhooks struct {
	// Paths are files and directories, like config/webhook, to which controller-gen
	// writes. In a directory the files .yaml, .yml and .json are read, without
	// subdirectories. Kinds other than ValidatingWebhookConfiguration and
	// MutatingWebhookConfiguration are left out. A path that is missing or has neither
	// is an error.
	Paths []string

	// FS is the file system of Paths, like an embed.FS. With FS and no Paths, it is
	// read whole, with all directories. If nil, the disk, where Paths are relative to
	// the directory of the package under test.
	FS fs.FS

	// Manifests are the contents of such files.
	Manifests [][]byte

	// Validating and Mutating are configurations as Go values. They are not
	// changed.
	Validating []*admissionregistrationv1.ValidatingWebhookConfiguration
	Mutating   []*admissionregistrationv1.MutatingWebhookConfiguration

	// Conversion names CRDs whose objects the server converts, like "foos.example.com".
	// They must be installed. The path is /convert unless the CRD has another. CRDs
	// whose manifest has a conversion webhook behind a Service need not be named. Other
	// CRDs keep their conversion.
	Conversion []string

	// Namespaces confines the webhooks of the configurations to objects in these
	// namespaces, for tests that share a control plane and run in parallel. The names
	// of the configurations get the suffix "-" and the first namespace, so that each
	// test has its own. Cluster-scoped objects other than the namespaces themselves, and
	// conversion, cannot be confined. If empty, all namespaces.
	Namespaces []string

	// Handler answers the webhooks over TLS on its own port. With controller-runtime it
	// is the WebhookMux of the manager's webhook server. The test logs a panic of
	// Handler. If nil, the test starts a server itself with the Host, Port and CertDir
	// of the WebhookServer.
	Handler http.Handler

	// ReadyTimeout bounds WebhookServer.WaitReady. If zero, ten seconds.
	ReadyTimeout time.Duration
}

// WebhookServer is the server of installed webhooks. It runs Webhooks.Handler, or the
// test starts it. With controller-runtime:
//
//	webhooks := controlplanetest.Webhooks{Paths: []string{"../config/webhook"}}
//	server := cp.InstallWebhooks(t, webhooks)
//	mgr, err := ctrl.NewManager(cp.ClientConfig(), ctrl.Options{
//		WebhookServer: webhook.NewServer(webhook.Options{
//			Host: server.Host, Port: server.Port, CertDir: server.CertDir,
//		}),
//	})
//	... // register the webhooks, start the manager
//	server.WaitReady(t)
//
// Until then, the API server refuses requests that match a webhook with failurePolicy
// Fail.
type WebhookServer struct{ *LocalServer }

// InstallWebhooks creates the webhook configurations. A clientConfig with a Service
// gets the URL of the server, with the path of the Service, and the server's caBundle.
// One with a URL stays as it is. When InstallWebhooks returns, the webhooks are in
// effect. A problem fails the test and installs nothing: the message has all problems,
// each with its file.
//
// At the end of the test the configurations are removed and the server is closed, so that
// the webhooks do not affect the next test on the control plane. A configuration that
// another test has installed and not yet removed is an error, which names that test; see
// Webhooks.Namespaces.
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

// endsWith reports whether the control plane stops right after the cleanup of t, so that
// its objects need no cleanup.
func (cp *ControlPlane) endsWith(t TB) bool {
	// The control plane of a failed test may be kept.
	return !cp.shared && cp.test == t.Name() && !t.Failed()
}
