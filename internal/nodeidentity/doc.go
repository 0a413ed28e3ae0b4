// Package nodeidentity is the record of the keys that may use the name of a
// node. The approver of join requests reserves a name for one key in it, the
// API server refuses the keys of a node whose identity was revoked, and an
// operator sees which nodes joined with which file.
//
// A record is a Secret of type [SecretType] in kube-system, one for each name.
// It holds hashes of public keys and no secret, but it decides who is believed
// to be a node, and few may write Secrets of kube-system. All control
// planes that share an etcd share the records, and a conflicting update is an
// error of the API server, so that of two keys that ask for one name at the
// same moment only one gets it.
package nodeidentity
