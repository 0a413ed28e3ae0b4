// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

// standinEntries are for pkg/controlplanetest/assets, the program kube-apiserver.
var standinEntries = []Entry{
	{
		Ours: "pkg/controlplanetest/assets/internal/kubeapiserver/complete.go:(*flags).complete", Package: "k8s.io/kubernetes/cmd/kube-apiserver/app/options", Decl: "(*ServerRunOptions).Complete", Digest: "10c22ea1668919ef",
		Look: "complete does the same with the ranges of Services, and calls the same Complete of pkg/controlplane/apiserver/options: adopt new steps.",
	},
	{
		Ours: "pkg/controlplanetest/assets/internal/kubeapiserver/encryption.go:(*completed).encryption", Package: "k8s.io/apiserver/pkg/server/options", Decl: "(*EtcdOptions).maybeApplyResourceTransformers", Digest: "a43802d0c15020e1",
		Look: "encryption makes the same transformers and the same controller of a reload.",
	},
}
