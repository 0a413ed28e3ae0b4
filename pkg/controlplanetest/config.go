package controlplanetest

import (
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// Config says what a test gets. Its zero value is a control plane with its core
// controllers and nothing else.
type Config struct {
	// ControlPlane is what is started. If zero, a private, ephemeral control
	// plane on a free loopback port. If its Logger is nil, what it would log from
	// zap's info level on is kept, one MiB at most, and logged by the test if that
	// fails: from its begin to its end, without the lines of the stop. klog's lines
	// do not say where they come from, so they are those of all control planes of
	// the process.
	ControlPlane controlplane.Config

	// BehaveLikeEnvtest is for suites that were written for controller-runtime's
	// envtest, which has an API server and no controllers. It stands for
	// ControlPlane.DisableCoreControllers, and for the admission plugins of
	// kube-apiserver without ServiceAccount, as envtest starts it:
	//
	//   - Nothing but the test writes to its objects. A namespace has no service
	//     account "default" and no ConfigMap kube-root-ca.crt, a pod is as it was
	//     created, a ResourceQuota has no status, aggregated ClusterRoles have no
	//     rules, and CertificateSigningRequests wait.
	//   - Only the test deletes objects: dependents of a deleted owner and pods of a
	//     deleted node stay. A deleted namespace stays Terminating, with its objects.
	//   - A new Node has the taint node.kubernetes.io/not-ready.
	//
	// Admission plugins that ControlPlane names, and its Components, take precedence.
	// Reset works as without the field. If false, the control plane behaves like a
	// cluster.
	BehaveLikeEnvtest bool

	// KeepOnFailure keeps the control plane of a test that has failed, for a look
	// at it with kubectl: the path of a kubeconfig and the command are written to
	// standard error, since what a test logs is not seen before its end, and the
	// test ends when that file is removed or the test binary is ended. It is kept once,
	// at the end of the test that owns it, or at the first OnFailure. Run go test
	// with -v in the directory of the package, or it holds back all output, and with
	// -timeout=0, or it ends the test after ten minutes.
	//
	// The library reads no flag and no environment variable. A flag is the user's
	// to have:
	//
	//	var keep = flag.Bool("keep", false, "keep the control planes of failed tests")
	//
	//	func TestWidget(t *testing.T) {
	//		cp := controlplanetest.New(t, controlplanetest.Config{KeepOnFailure: *keep})
	KeepOnFailure bool

	// DumpOnFailure is a directory. What the control plane of a failed test has is
	// written to a new directory in it that is named after the test, or "the_suite"
	// for one that Ginkgo's BeforeSuite owns, and "TestMain" where tests have failed
	// that have not called Shared: all objects,
	// without the contents of Secrets, as YAML files of one resource and namespace
	// each, events.txt, and the logs of the control plane. It is created if it is
	// missing. A relative path begins in the directory of the package, where tests
	// run. If empty, nothing is written.
	DumpOnFailure string

	// Audit keeps a log of every request for AuditTrail and DumpOnFailure, in a
	// temporary directory, or in ControlPlane.Audit.LogPath if that is set.
	Audit bool

	// CRDs are installed at the start, and belong to the state that Reset goes back
	// to. If zero, none; see InstallCRDs for those of one test.
	CRDs CRDs

	// Webhooks are installed at the start, after the definitions that they convert,
	// and belong to the state that Reset goes back to. ControlPlane.WebhookServer
	// is their server. If zero, none; see InstallWebhooks for those of one test.
	Webhooks Webhooks
}
