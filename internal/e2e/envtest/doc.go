// Package envtest tests the programs of pkg/controlplanetest/assets: that they take
// what envtest gives them (flags, programs), and that other projects' suites pass on
// them (suites).
//
// The suites are copied from the module cache, and nothing is changed in them. They
// are built in a workspace with the library, so that what both need is compiled once,
// in the newer of both versions. Their projects are not of our making:
//
//   - sigs.k8s.io/controller-runtime, of which envtest itself is a part
//   - github.com/kubernetes-sigs/kro, which makes CRDs and controllers at run time
//
// They run where they are asked for. A part of each takes some minutes, all of it half
// an hour or more:
//
//	go test ./internal/e2e/envtest -run=Suites -count=1 -v -timeout=20m -args -suites
//	go test ./internal/e2e/envtest -run=Suites -count=1 -v -timeout=90m -args -all
//
// The same on programs of another origin, such as kube-apiserver and etcd themselves,
// which envtest would download:
//
//	go test ./internal/e2e/envtest -run=Suites -count=1 -v -timeout=90m -args -all -assets=/path/to/directory
package envtest
