// Package controlplanetest gives tests a Kubernetes control plane: etcd, API
// server and core controllers, in the process of the test. Nothing is downloaded,
// no environment variable is read, and a test that ends leaves nothing behind.
//
// A complete test:
//
//	package widgets_test
//
//	import (
//		"testing"
//
//		corev1 "k8s.io/api/core/v1"
//		metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
//		"k8s.io/client-go/kubernetes"
//
//		"github.com/kubembed/kubembed/pkg/controlplanetest"
//	)
//
//	func TestConfigMap(t *testing.T) {
//		t.Parallel()
//		cp := controlplanetest.New(t, controlplanetest.Config{})
//		client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
//
//		settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
//		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), settings, metav1.CreateOptions{}); err != nil {
//			t.Fatal(err)
//		}
//	}
//
// # One control plane for each test, or one for all
//
// [New] starts a control plane for a test, and stops it at the test's end. Tests
// that have their own can do what they like, and run in parallel.
//
// [Shared] is the same one for all tests of a package. [Main] stops it:
//
//	func TestMain(m *testing.M) {
//		os.Exit(controlplanetest.Main(m, controlplanetest.Config{}))
//	}
//
//	func TestWidget(t *testing.T) {
//		t.Parallel()
//		cp := controlplanetest.Shared(t)
//		namespace := cp.Namespace(t)
//		...
//	}
//
// Tests with namespaces of their own run in parallel on it. Those that change
// what belongs to no namespace run one after another, with a Reset between them.
//
// # The end of a test
//
// When a test ends, by a failure or a panic too, so do the requests of the clients
// that it has made. A watch or an informer that it has forgotten holds up nobody:
// what still uses the control plane is told by an error which test it was that
// has ended. Only programs with a kubeconfig file are not told: they lose their
// connection.
//
// A panic ends the test binary. All control planes are stopped before that, and
// their temporary directories removed, unless the panic is in a goroutine that is not
// the test's.
//
// # Users
//
// [ControlPlane.ClientConfig] is an administrator's. [ControlPlane.UserConfig] is
// anybody's, over TLS with a client certificate, [ControlPlane.ImpersonatedConfig]
// the same without a connection, and [ControlPlane.ServiceAccountConfig] that of a
// service account. [ControlPlane.KubeconfigFile] is for other programs.
//
// # When a test fails
//
// What the control plane has logged until its end is logged by the test. For more,
// there are three fields of [Config]: DumpOnFailure writes all objects, events
// and logs to a directory, for a CI job to keep; KeepOnFailure keeps the control
// plane, for a look with kubectl; and Audit records all requests, of which
// [ControlPlane.AuditTrail] gives a test those of the code that it tests.
//
// The test that owns the control plane does so at its end, also for the failures of
// its subtests and of Ginkgo's specs. [ControlPlane.OnFailure] does so at once for one
// of these, and Namespace calls it.
//
// # Suites written for envtest
//
// Config.BehaveLikeEnvtest leaves out the controllers, and has the admission plugins of
// envtest: nothing but the test writes to its objects. MIGRATION.md beside this file has
// the rest of envtest.
//
// # Ginkgo and others
//
// A test is a [TB], which *testing.T is, and what GinkgoT returns, in BeforeSuite,
// BeforeAll or BeforeEach:
//
//	var cp *controlplanetest.ControlPlane
//
//	var _ = BeforeSuite(func() {
//		cp = controlplanetest.New(GinkgoT(), controlplanetest.Config{DumpOnFailure: "dump"})
//	})
//
//	var _ = JustAfterEach(func() { cp.OnFailure(GinkgoT()) })
//
// Without the last line a failed spec is noticed at the end of the suite, and the dump
// shows the state at that time.
package controlplanetest
