// Package kubeapiserver is the program kube-apiserver of package assets: flags
// (flags.go), what they mean for an apiserver.Config (config.go, identities.go), and
// a server that runs until it is told to stop (run.go).
package kubeapiserver
