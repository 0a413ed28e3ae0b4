// Package controlplane runs a complete Kubernetes control plane inside the
// calling process, with one call.
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"log"
//
//		metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
//		"k8s.io/client-go/kubernetes"
//
//		"github.com/kubembed/kubembed/pkg/controlplane"
//	)
//
//	func main() {
//		ctx := context.Background()
//		cp, err := controlplane.Start(ctx, controlplane.Config{})
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer cp.Close()
//
//		client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
//		namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
//		if err != nil {
//			log.Fatal(err)
//		}
//		fmt.Println(len(namespaces.Items), "namespaces")
//	}
//
// # Ephemeral or durable
//
// Without [Config].DataDir a control plane is ephemeral: it lives in a
// temporary folder, writes nothing to disk that must last, and removes it when
// it stops. With it, everything that was acknowledged survives a crash, and the
// same CA, keys and objects are there at the next start.
//
// # Who may do what
//
// Clients are known by certificates of the control plane's own CA
// ([Server.Kubeconfig], [Server.NodeKubeconfig]), service-account tokens,
// bootstrap tokens, or a front proxy. The Node authorizer and RBAC, with
// upstream's bootstrap policy, decide what they may do. Without credentials
// only health and version can be read. Config.InsecureAddr is the one
// exception, off by default.
//
// Admission is kube-apiserver's default set and NodeRestriction. The
// ServiceAccount plugin is off by default for now: it refuses pods until a
// controller creates the default service account of their namespace.
//
// # Several at once
//
// Any number of control planes run in one process. They share nothing but
// what upstream keeps per process: feature gates, metrics and klog (see the
// root package).
//
// # Logs
//
// Nothing is printed. Config.Logger takes etcd's log, and what the Kubernetes
// code writes through klog, one level lower than upstream has them: its
// information at debug level, its warnings as information, its errors, most of
// which it retries by itself, as warnings. A host that has configured klog
// keeps its own output. With several control planes in a process, each line of
// klog goes to the Logger of each.
//
// # What is not here yet
//
// Controllers and the scheduler: a pod without nodeName stays Pending, and a
// deleted namespace stays Terminating. kubectl logs, exec and port-forward:
// the API server has no client certificate for kubelets yet.
package controlplane
