// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// Config configures the control plane of a test. The zero value is a control plane with
// the core controllers and nothing else.
type Config struct {
	// ControlPlane is the configuration to start. If zero, an ephemeral control plane
	// on a free loopback port. If its Logger is nil, the fixture keeps the last MiB of
	// the log, from zap's info level on. A failed test logs the lines from its start to
	// its end, without the stop. klog's lines do not name their control plane:
	// they come from all control planes of the process.
	ControlPlane controlplane.Config

	// BehaveLikeEnvtest is for suites written for controller-runtime's envtest, which
	// has an API server and no controllers. It sets ControlPlane.DisableCoreControllers
	// and the admission plugins that envtest gives kube-apiserver, without
	// ServiceAccount:
	//
	//   - Only the test writes to its objects. A namespace has no service account
	//     "default" and no ConfigMap kube-root-ca.crt, a pod stays as created, a
	//     ResourceQuota has no status, aggregated ClusterRoles have no rules, and
	//     CertificateSigningRequests stay pending.
	//   - Only the test deletes objects: dependents of a deleted owner and pods of a
	//     deleted node stay. A deleted namespace stays Terminating, with its objects.
	//   - A new Node has the taint node.kubernetes.io/not-ready.
	//
	// Admission plugins that ControlPlane names, and its Components, take precedence.
	// Reset works as usual. If false, the control plane behaves like a cluster.
	BehaveLikeEnvtest bool

	// KeepOnFailure keeps the control plane of a failed test running, for a look with
	// kubectl. The fixture writes the path of a kubeconfig and a kubectl command to
	// standard error, because a test's log is not visible before its end. The test ends
	// when that file is removed or the test binary ends. The control plane is kept
	// once, at the end of the test that owns it or at the first OnFailure. Run go test
	// in the directory of the package with -v, or it holds back all output, and with
	// -timeout=0, or it ends the test after ten minutes.
	//
	// The library reads no flag and no environment variable. Define your own flag:
	//
	//	var keep = flag.Bool("keep", false, "keep the control planes of failed tests")
	//
	//	func TestWidget(t *testing.T) {
	//		cp := controlplanetest.New(t, controlplanetest.Config{KeepOnFailure: *keep})
	KeepOnFailure bool

	// DumpOnFailure is a directory for dumps of failed tests. It is created if missing.
	// Each dump is a new directory in it, named after the test: "the_suite" if Ginkgo's
	// BeforeSuite owns the control plane, and "TestMain" if the failed tests have not
	// called Shared. A dump has all objects, without the contents of Secrets, in one
	// YAML file for each resource and namespace, events.txt, and the control plane's
	// logs. A relative path is relative to the package directory, where tests run. If
	// empty, nothing is written.
	DumpOnFailure string

	// Audit keeps a log of every request for AuditTrail and DumpOnFailure, in a
	// temporary directory, or in ControlPlane.Audit.Log.Path if that is set.
	Audit bool

	// CRDs are installed at the start and belong to the state that Reset restores. If
	// zero, none. InstallCRDs installs the CRDs of one test.
	CRDs CRDs

	// Webhooks are installed at the start, after the CRDs that they convert, and belong
	// to the state that Reset restores. ControlPlane.WebhookServer returns their
	// server. If zero, none. InstallWebhooks installs the webhooks of one test.
	Webhooks Webhooks
}
