// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package pki creates and stores the identities of a control plane. They are the
// certificate authority (CA) of the cluster, separate CAs for the front proxy, for etcd
// members and for kubelet serving certificates, the certificates of the API server, and
// the service-account keys. It also issues client certificates and kubeconfigs for users
// and nodes.
//
// A complete program, which creates the kubeconfig of an administrator:
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
// Generated keys are ECDSA P-256. A CA is valid for ten years, every other certificate
// for one year or the ttl given to [PKI.IssueClient] or [PKI.IssueNode], and never longer
// than its CA. Validity begins five minutes before the certificate is issued, for clients
// whose clock is behind.
//
// [Open] renews the certificates of the API server when less than a third of their
// lifetime is left. In a long-running process, [PKI.Renew] does the same. A CA is never
// renewed automatically, because all clients that trust it must get the new one. After
// ten years Open fails with an error that names the files to delete.
//
// # The directory
//
// With [Config].Dir set, the files have the names of kubeadm:
//
//	ca.crt, ca.key                          the CA of the cluster
//	front-proxy-ca.crt, .key                the CA of front-proxy-client
//	kubelet-serving-ca.crt, .key            the CA of kubelet serving certificates
//	apiserver.crt, .key                     serving certificate of the API server
//	apiserver-kubelet-client.crt, .key      API server to kubelet
//	front-proxy-client.crt, .key            API server to extension API servers
//	sa.key, sa.pub                          service-account tokens
//	etcd/ca.crt, etcd/ca.key                the CA of etcd members
//	etcd/member.crt, .key                   an etcd member, with Config.EtcdMember
//
// To use existing CAs and keys, ECDSA or RSA, put them there before the first start.
// Further certificates in ca.crt are trusted in addition to the first, and so are all
// keys in sa.pub.
//
// Each file is replaced atomically, and each key is written before its certificate: the
// next Open repairs the state after a crash. The directory has no lock. Only one process
// at a time may open it.
//
// # Several servers of one cluster
//
// The servers of a cluster share the CAs and the service-account keys. Each has its own
// certificates. Pass the result of [PKI.Export] of the first server as [Config].Import to
// all others. They write it to their directories at the first Open and only compare it
// later, so that a CA can be replaced in one directory after the other. The bundle always
// has the CA of etcd members, so that no two members create different ones.
//
// # Kubelet serving certificates
//
// The serving certificates of kubelets have a CA of their own, [PKI.KubeletServingCA].
// Only the API server needs to trust it, and only for kubelets: no kubelet can
// impersonate the API server, a webhook or a Service. The first Open derives its key
// one-way from the key of the cluster's CA, so all servers of a cluster have the same CA.
// Directories and bundles of older releases get it at the next [Open]. Upgrade all
// servers of a cluster before or after a change of its CA, not during it. If ca.key has
// leaked, replace both CAs.
//
// Programs that verify kubelets themselves need [PKI.KubeletServingCABundle], and also
// CABundle until the certificates that older releases signed have been renewed.
//
// # CA rotation
//
// The CA of the cluster is replaced in three steps. Each step is a change in the
// directory and a restart of all servers of the cluster, one after the other, before the
// next step. First create the new CA: Open an empty directory and take its ca.crt and
// ca.key.
//
//  1. Append the new ca.crt to the old one: both CAs are trusted, and the old one signs.
//     Then distribute the new [PKI.CABundle] to the clients: kubeconfigs, the
//     clientCAFile of kubelets, webhooks, and all other copies of ca.crt. Pods get it in
//     the ConfigMap kube-root-ca.crt.
//  2. Replace ca.key, then put the new certificate first in ca.crt and the old one
//     second: both CAs are trusted, and the new one signs. Open reissues the certificates
//     of the API server. Then reissue kubeconfigs and node certificates. Kubelets with
//     rotateCertificates request new ones before the old ones expire, or when their files
//     are deleted. From the next step on, Config.Import must be empty or the Export of a
//     server that has completed this step.
//  3. Remove the old certificate from ca.crt. Certificates that it signed are refused.
//
// The CAs of the front proxy, of etcd members and of kubelet serving certificates are
// replaced the same way, in their own files. Clients read front-proxy-ca.crt from the
// ConfigMap kube-system/extension-apiserver-authentication. Copies of etcd/ca.crt are in
// the directories of the other members. Service-account keys need two steps: append the
// new public key to sa.pub on all servers, then put the new key in sa.key.
package pki
