// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import "time"

// Config configures the control plane of a test. The zero value is a control plane with
// the core controllers and nothing else.
type Config struct {
	// ControlPlane is the configuration to start. Control planes with the zero value are
	// ready before a test asks for them.
	ControlPlane ControlPlaneConfig

	// Program is the path of a program controlplanes that is already built, as in images
	// of CI or with Bazel. A relative path is relative to the package directory, where
	// tests run. If empty, the environment variable KUBEMBED_CONTROLPLANES, and without
	// it the tool of the module: go tool controlplanes. A file that is missing or not
	// executable fails the start.
	Program string

	// Modfile is a file for go's flag -modfile, like "tools.mod", relative to the
	// directory of go.mod. It has the tool controlplanes if the module itself cannot
	// have its versions of Kubernetes. If empty, go.mod. It has no effect with Program
	// or KUBEMBED_CONTROLPLANES.
	Modfile string

	// Idle is the time without tests after which the program ends, if this test starts
	// it. If zero, 30 seconds. It has no effect on a program that runs.
	Idle time.Duration

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
	// Admission plugins that ControlPlane names take precedence. Reset works as usual. If
	// false, the control plane behaves like a cluster.
	BehaveLikeEnvtest bool

	// KeepOnFailure keeps the control plane of a failed test running, for a look with
	// kubectl. The fixture writes the path of a kubeconfig and a kubectl command to
	// standard error, because a test's log is not visible before its end. The test ends
	// when that file is removed or the test binary ends. The control plane is kept
	// once, at the end of the test that owns it or at the first OnFailure. Run go test
	// in the directory of the package with -v, or it holds back all output, and with
	// -timeout=0, or it ends the test after ten minutes.
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
	// temporary directory of the program. If false, none.
	Audit bool

	// CRDs are installed at the start and belong to the state that Reset restores. If
	// zero, none. InstallCRDs installs the CRDs of one test.
	CRDs CRDs

	// Webhooks are installed at the start, after the CRDs that they convert, and belong
	// to the state that Reset restores. Their server is in the test's process:
	// ControlPlane.WebhookServer returns it. If zero, none. InstallWebhooks installs the
	// webhooks of one test.
	Webhooks Webhooks
}

// ControlPlaneConfig has the fields of controlplane.Config that a process can pass to
// another one.
type ControlPlaneConfig struct {
	// ServiceCIDR, RuntimeConfig, EnableAdmissionPlugins, DisableAdmissionPlugins,
	// DisableCoreControllers, MaxRequestsInFlight, MaxMutatingRequestsInFlight,
	// RequestTimeout, EventTTL and ClusterSigningDuration have the meanings, defaults
	// and errors of the fields of controlplane.Config with these names.
	ServiceCIDR                                      string
	RuntimeConfig                                    map[string]string
	EnableAdmissionPlugins, DisableAdmissionPlugins  []string
	DisableCoreControllers                           bool
	MaxRequestsInFlight, MaxMutatingRequestsInFlight int
	RequestTimeout, EventTTL, ClusterSigningDuration time.Duration

	// Scheduler runs kube-scheduler, with its default configuration.
	Scheduler bool
	// Controllers runs all controllers of kube-controller-manager beside the core ones,
	// with their default configuration.
	Controllers bool
	// HollowNodes is the number of simulated nodes, whose pods run. If zero, none.
	HollowNodes int
}
