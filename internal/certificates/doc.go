// Package certificates runs the controllers that turn a
// CertificateSigningRequest into a certificate, as kube-controller-manager does,
// and those of bootstrap tokens: upstream's approver, cleaner, bootstrap signer
// and token cleaner; an approver of what kubelets ask for, which upstream
// leaves to the operator; and a signer of our own around upstream's signing.
//
// # Who gets what
//
// A request that is left alone waits for kubectl certificate approve.
//
//   - Whoever holds a join token: the first client certificate of a node that
//     does not exist yet and whose name no other key has, and nothing else of the
//     signers kubernetes.io/*.
//   - A node: a new client certificate in its own name, which upstream's approver
//     approves after a SubjectAccessReview, and serving certificates for its own
//     name and for what its Node object has as addresses, except those of the
//     control plane, of Services and of webhooks. What other nodes have registered
//     does not matter. Another CA signs these.
//   - All others: left alone.
//
// # Names and keys
//
// The name of a node belongs to the key that has got the first certificate for it,
// from the approval until its Node is deleted. This is in a record (package
// nodeidentity) that is stored before the request is approved, and the signer adds
// the keys that a node renews its certificate with. It refuses, by the condition
// Failed, requests that were made with a revoked key, or with a key that no longer
// owns the name.
//
// # Refusals
//
// What cannot be right is denied, with all the reasons in the condition Denied
// of the request and in the log. A kubelet asks again by itself, after seconds
// at first and twice a minute later; denied requests are deleted after an hour.
package certificates
