// Package e2e holds the end-to-end tests: a control plane of this library, real
// kubelet code that joins it, and real kubectl code that talks to it.
//
//	go test ./internal/e2e/... # at the top of the repository
//
// The walk of testdata/seed is the main test (walk_test.go). Everything that is
// not the library runs as a process of its own, and each is this test binary
// started under another name (main_test.go):
//
//   - kubectl: k8s.io/kubectl, with its own flags, exit code, stdout and stderr
//   - kubelet: k8s.io/kubernetes/pkg/kubemark, that is real kubelet code over a
//     fake container runtime, whose CRI socket the tests ask what is running
//   - kubembed: a control plane, for the tests that kill it
//
// The kubelets listen on no TCP port. They need neither root nor cgroups; as
// root, where /dev/kmsg can be read, they post events as well.
//
// # Why a module of its own
//
// kubectl and the kubelet bring some 40 modules. Here they stay out of the
// go.mod of the library. The go command finds the library through the go.work
// above, so that this go.mod names it in no directive: a requirement would need
// a published version, and a replace directive is what we spare our users.
//
// # How to update go.mod
//
// That is also why "go mod tidy" cannot run on go.mod as it is. Tidy a copy that
// has both directives, and take it back without them:
//
//	cd internal/e2e
//	cp go.mod tidy.mod && cp go.sum tidy.sum
//	go mod edit -require=github.com/kubembed/kubembed@v0.0.0 -replace=github.com/kubembed/kubembed=../.. tidy.mod
//	GOWORK=off go mod tidy -modfile=tidy.mod
//	go mod edit -droprequire=github.com/kubembed/kubembed -dropreplace=github.com/kubembed/kubembed tidy.mod
//	mv tidy.mod go.mod && mv tidy.sum go.sum
//	go vet ./... # Completes go.work.sum.
//
// All versions follow the go.mod of the library: tidy takes them from there
// where this module does not ask for higher ones. In the workspace the go command
// selects the higher of the two, so a module that is raised here only is raised
// for the tests of the library too; keep k8s.io/* at one version in both files.
package e2e
