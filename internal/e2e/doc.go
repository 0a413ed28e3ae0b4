// Package e2e holds the end-to-end tests: a control plane of this library, real
// kubelet code that joins it, and real kubectl code that talks to it.
//
//	go test ./internal/e2e/... # at the top of the repository
//
// The walk of testdata/seed is the main test (walk_test.go). What kubelets make
// possible and what they must not is tested from their side: how they join and
// renew their certificates (join, rotation, badjoin), logs, exec and the like
// over both protocols (streams, vanish), and what their credentials reach
// (kubeletapi, isolation).
//
// What components add is tested on simulated nodes (components), and the
// scheduler with a kubelet too. The directory soak starts and stops control planes
// with all components 200 times, unless -short is given.
//
// The directory durable kills control planes, pulls the plug under them and takes
// their disks away; the directory cluster does that to members of a cluster, and cuts
// their network.
//
// The directory attack runs all known attacks at once against a control plane in a
// process of its own.
//
// Everything that is not the library runs as a process of its own, and each is
// this test binary started under another name (main_test.go):
//
//   - kubectl: k8s.io/kubectl, with its own flags, exit code, stdout and stderr
//   - kubelet: k8s.io/kubernetes/cmd/kubelet/app, with its own flags and
//     configuration file, which joins as in production: with a join file, a
//     certificate of its own as client and as server, and a control plane that
//     it asks who its clients are. cAdvisor, cgroups and mounts are upstream's
//     fakes (kubelet_test.go).
//   - kubembed: a control plane, for the tests that kill it
//
// The container runtime of a kubelet is upstream's fake behind a CRI socket,
// with containerd's streaming server (runtime_test.go). A container in it is a
// directory, in which exec runs commands of this machine, and a log
// (container_test.go).
//
// Each kubelet listens at an address of its own in 127.0.0.0/8, which Linux has
// without being asked, on port 10250. No kubelet registers such an address by
// itself: it is started for a cloud whose controller, here the test, does it.
// Kubelets need neither root nor cgroups; as root, where /dev/kmsg can be read,
// they post events as well.
//
// The directory realnode has the same with the real kubelet program and containerd.
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
