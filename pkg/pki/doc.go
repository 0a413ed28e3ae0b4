// Package pki makes and keeps every identity that a control plane needs: the
// cluster's certificate authority and the separate ones of the front proxy, of etcd's
// members and of kubelets as servers, the API server's own certificates, the service-account keys, and
// the client certificates and kubeconfigs of users and nodes.
//
// A complete program, which makes the kubeconfig of an administrator:
//
//	package main
//
//	import (
//		"log"
//
//		"github.com/kubembed/kubembed/pkg/pki"
//		"k8s.io/client-go/tools/clientcmd"
//	)
//
//	func main() {
//		p, err := pki.Open(pki.Config{Dir: "pki", Hosts: []string{"192.0.2.10"}})
//		if err != nil {
//			log.Fatal(err)
//		}
//		admin, err := p.IssueClient("admin", []string{"system:masters"}, 0)
//		if err != nil {
//			log.Fatal(err)
//		}
//		cfg := pki.Kubeconfig("https://192.0.2.10:6443", p.CABundle(), "admin", admin)
//		if err := clientcmd.WriteToFile(*cfg, "admin.kubeconfig"); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// # Keys and lifetimes
//
// All keys that are made are ECDSA P-256. An authority lasts ten years, every
// other certificate one year, unless [PKI.IssueClient] or [PKI.IssueNode] is told
// otherwise, or as long as its authority, if that is shorter. All begin five
// minutes before they are made, for clients whose clock is behind.
//
// [Open] renews the API server's certificates when less than a third of their
// life is left, and [PKI.Renew] does so in a process that runs for long. An
// authority is never renewed by itself, for everybody who trusts it must learn of
// the new one; after its ten years Open fails and says what to delete.
//
// # The directory
//
// With [Config].Dir set, the files have the names that kubeadm gives them:
//
//	ca.crt, ca.key                          the cluster's authority
//	front-proxy-ca.crt, .key                the authority of front-proxy-client
//	kubelet-serving-ca.crt, .key            the CA of kubelets' serving certificates
//	apiserver.crt, .key                     serving
//	apiserver-kubelet-client.crt, .key      API server to kubelet
//	front-proxy-client.crt, .key            API server to extension API servers
//	sa.key, sa.pub                          service-account tokens
//	etcd/ca.crt, etcd/ca.key                the authority of etcd's members
//	etcd/member.crt, .key                   an etcd member, with Config.EtcdMember
//
// Authorities and keys made elsewhere, RSA too, are used when they are put there
// before the start. Certificates that stand in ca.crt after the first are trusted
// besides it, and so are keys that stand in sa.pub.
//
// Each file is replaced as a whole, and a key is written before its certificate,
// so a crash leaves nothing that the next Open does not repair. The directory has no
// lock of its own: one process at a time may open it.
//
// # Several servers of one cluster
//
// They have the authorities and the service-account keys in common, and each its
// own certificates. [PKI.Export] of the first is [Config].Import of all others, which
// write it to their directories at their first Open. After that Import is compared only:
// a directory keeps what it has, so that an authority can be changed in one directory after
// the other. The authority of etcd's members is always among them, whether it is used
// or not, so that members never make one each.
//
// # Kubelets as servers
//
// The serving certificates of kubelets have a CA of their own, [PKI.KubeletServingCA],
// which the API server trusts for kubelets and nobody else needs to trust for anything
// else: no kubelet can pass for the API server, a webhook or a Service. Its key is
// derived from the cluster's CA when it is made, one-way, so all servers of a cluster
// have the same one. A directory or a bundle of a release before it gets it at the next
// [Open]; upgrade all servers of a cluster before or after a change of its CA, not in
// between. If ca.key has leaked, replace both CAs.
//
// Programs that verify kubelets by themselves need [PKI.KubeletServingCABundle], and
// until the certificates that older releases signed have been renewed, CABundle too.
//
// # A new authority
//
// The one of the cluster is replaced in three steps. Each is a change in the directory
// followed by a restart, of all servers of the cluster one after the other, before the
// next step begins. Make it first, with Open in an empty directory, of which ca.crt and
// ca.key are wanted.
//
//  1. Append the new ca.crt to the old: both are trusted, and the old one signs. Then
//     give the clients the new [PKI.CABundle]: in kubeconfigs, in the clientCAFile of
//     kubelets, with webhooks and whoever else has a copy of ca.crt. Pods get it in the
//     ConfigMap kube-root-ca.crt.
//  2. Replace ca.key, then put the new certificate first in ca.crt, the old one second:
//     both are trusted, and the new one signs. Open makes the API server's certificates
//     anew. Then issue kubeconfigs and node certificates anew; kubelets with
//     rotateCertificates ask for theirs when the old ones near their end, or when their
//     files are taken away. An empty Config.Import, or the Export of a server that has
//     come this far, is needed from the next step on.
//  3. Take the old certificate out of ca.crt. What it signed is refused.
//
// The authorities of the front proxy, of etcd's members and of kubelets as servers go
// the same way, in their own files. Who has copies of front-proxy-ca.crt reads them from the ConfigMap
// kube-system/extension-apiserver-authentication; those of etcd/ca.crt are in the
// directories of the other members. Service-account keys need two: append the new public
// key to sa.pub on all servers, then put the new key in sa.key.
package pki
