package upstream

// apiserverEntries are for pkg/apiserver: k8s.io/apiserver, kube-aggregator, k8s.io/kubernetes/pkg/controlplane.
var apiserverEntries = []Entry{}
