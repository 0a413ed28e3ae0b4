package apiserver

import "slices"

// Encryption says which resources are encrypted on their way to etcd, and how.
type Encryption struct {
	// Resources are encrypted, like kube-apiserver's EncryptionConfiguration names
	// them: "secrets", "configmaps", "widgets.example.com", "*.apps", "*.*". If empty,
	// "secrets".
	Resources []string
}

// Clone returns a copy that shares nothing.
func (e Encryption) Clone() Encryption {
	e.Resources = slices.Clone(e.Resources)
	return e
}
