// Package pki makes and keeps every identity that a control plane needs: the
// cluster's certificate authority and the separate one of the front proxy, the
// API server's own certificates, the service-account keys, and the client
// certificates and kubeconfigs of users and nodes.
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
//		data, err := clientcmd.Write(*cfg)
//		if err != nil {
//			log.Fatal(err)
//		}
//		if err := pki.WriteFile("admin.kubeconfig", data, 0o600); err != nil {
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
// # The folder
//
// With [Config].Dir set, the files have the names that kubeadm gives them:
//
//	ca.crt, ca.key                          the cluster's authority
//	front-proxy-ca.crt, .key                the authority of front-proxy-client
//	apiserver.crt, .key                     serving
//	apiserver-kubelet-client.crt, .key      API server to kubelet
//	front-proxy-client.crt, .key            API server to extension API servers
//	sa.key, sa.pub                          service-account tokens
//
// Authorities and keys made elsewhere, RSA too, are used when they are put there
// before the start. Certificates that stand in ca.crt after the first are trusted
// besides it, and so are keys that stand in sa.pub.
//
// Each file is replaced as a whole, and a key is written before its certificate,
// so a crash leaves nothing that the next Open does not repair. The folder has no
// lock of its own: one process at a time may open it.
package pki
