// Package kubeapiserver implements the program kube-apiserver of package assets: its
// flags (flags.go), the apiserver.Config that they configure (config.go,
// identities.go), and the server (run.go).
package kubeapiserver
