// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestBadJoins starts kubelets that cannot join. The log tells the operator the reason
// and a remedy, and the remedy works.
func TestBadJoins(t *testing.T) {
	core, log := observer.New(zap.WarnLevel)
	p, server := startServer(t, controlplane.Config{Logger: zap.New(core)})

	t.Run("expired", func(t *testing.T) {
		w := newWorker(t, p, "late")
		expired := joinKubeconfig(t, server, time.Second)
		joiner := kubectlFor(t, expired)
		testwait.Until(t, "Unauthorized", func(context.Context) error {
			r := joiner.run(t, "", "get", "--raw", "/api")
			return unless(strings.Contains(r.stderr, "Unauthorized"), r)
		})
		w.joinWith(t, expired)
		refusedToken(t, p, w, log, "expired")
	})
	t.Run("revoked", func(t *testing.T) {
		w := newWorker(t, p, "unwanted")
		revoked := joinKubeconfig(t, server, time.Hour)
		if err := server.RevokeJoinKubeconfig(t.Context(), revoked); err != nil {
			t.Fatal(err)
		}
		w.joinWith(t, revoked)
		refusedToken(t, p, w, log, "it was deleted")
	})
	t.Run("deleted by kubectl", func(t *testing.T) {
		w := newWorker(t, p, "unlucky")
		deleted := joinKubeconfig(t, server, time.Hour)
		config, err := clientcmd.Load(deleted)
		if err != nil {
			t.Fatal(err)
		}
		for secret := range config.AuthInfos {
			p.kubectl(t).ok(t, "delete", "secret", secret, "--namespace=kube-system")
		}
		w.joinWith(t, deleted)
		refusedToken(t, p, w, log, "it was deleted")
	})
	t.Run("cut", func(t *testing.T) {
		w := newWorker(t, p, "clumsy")
		join := p.joinKubeconfig(t)
		config, err := clientcmd.RESTConfigFromKubeConfig(join)
		if err != nil {
			t.Fatal(err)
		}
		w.joinWith(t, bytes.Replace(join, []byte(config.BearerToken), []byte(config.BearerToken[:15]), 1))
		refusedToken(t, p, w, log, "malformed")
	})
	t.Run("taken name", func(t *testing.T) { takenName(t, p, log) })
}

// refusedToken starts a kubelet with an invalid join file, and then with a valid one.
func refusedToken(t *testing.T, p plane, w *worker, log *observer.ObservedLogs, reason string) {
	t.Helper()
	log.TakeAll()
	before := len(requests(t, p))
	w.start(t)
	w.waitLog(t, "Unauthorized")
	waitLogged(t, log, "a bootstrap token was refused", reason)
	if after := len(requests(t, p)); after != before {
		t.Errorf("%d new certificate requests", after-before)
	}
	w.kill(t)
	p.kubectl(t).fails(t, "", "not found", "get", "node", w.name)

	w.joinWith(t, p.joinKubeconfig(t))
	w.start(t)
	waitNode(t, p.client(t), w.name, ready)
}

// takenName starts a kubelet with the name of an existing node.
func takenName(t *testing.T, p plane, log *observer.ObservedLogs) {
	k, client := p.kubectl(t), p.client(t)
	first := startWorker(t, p, "worker1")
	uid := waitNode(t, client, "worker1", ready).UID
	before := map[string]bool{}
	for _, name := range requests(t, p) {
		before[name] = true
	}
	second := newWorker(t, p, "worker1")
	second.start(t)

	const why, cure = "node worker1 exists already", "kubectl delete node worker1"
	waitLogged(t, log, "certificate request denied", why, cure)
	second.waitLog(t, why)
	second.waitLog(t, cure)
	var denied *certificatesv1.CertificateSigningRequest
	for _, request := range listRequests(t, p) {
		if !before[request.Name] && request.Spec.Username != "system:node:worker1" {
			denied = &request
			break
		}
	}
	if denied == nil || len(denied.Status.Certificate) > 0 {
		t.Fatalf("got %v", denied)
	}
	rows := table(t, k.ok(t, "get", "csr", denied.Name))
	if len(rows) != 1 || rows[0]["CONDITION"] != "Denied" {
		t.Errorf("got %v", rows)
	}
	want(t, squeeze(k.ok(t, "describe", "csr", denied.Name)), "Status: Denied", "Common Name: system:node:worker1")
	want(t, k.ok(t, "get", "csr", denied.Name, "-o", "jsonpath={.status.conditions[?(@.type=='Denied')].message}"), why, cure)
	if node := waitNode(t, client, "worker1", ready); node.UID != uid || !first.running() {
		t.Error("the second worker1 has affected the first: its node or its process is gone")
	}

	// The second machine replaces the first.
	first.kill(t)
	k.ok(t, "delete", "node", "worker1")
	node := waitNode(t, client, "worker1", func(node *corev1.Node) bool { return ready(node) && node.UID != uid })
	if node.UID == uid || !second.running() {
		t.Error("the second worker1 has not joined")
	}
	second.register(t, client, second.address)
	waitServing(t, second)
}

// TestNodeAddresses registers node addresses that the control plane must not connect
// to. Unlike in other tests, the control plane listens on all addresses.
func TestNodeAddresses(t *testing.T) {
	core, log := observer.New(zap.WarnLevel)
	p, _ := startServer(t, controlplane.Config{BindAddress: "0.0.0.0:0", AdvertiseAddress: "127.0.0.1", Logger: zap.New(core)})
	k, client := p.kubectl(t), p.client(t)
	w := startWorker(t, p, "worker1") // with a loopback address
	waitNode(t, client, "worker1", ready)
	k.ok(t, "run", "nginx", "--image=nginx:latest", `--overrides={"spec":{"nodeName":"worker1"}}`)
	waitPod(t, client, "nginx", running)

	waitLogged(t, log, "certificate request denied", "IP address "+w.address+" is a loopback address")
	w.waitLog(t, "is a loopback address")
	k.fails(t, "", "is a loopback address", "logs", "nginx")
	k.fails(t, "", "is a loopback address", "exec", "nginx", "--", "echo")
	k.fails(t, "", "is a loopback address", "get", "--raw", "/api/v1/nodes/worker1/proxy/healthz")
	w.register(t, client, "169.254.169.254")
	testwait.Until(t, "refused", func(context.Context) error {
		r := k.run(t, "", "logs", "nginx")
		return unless(r.code != 0 && strings.Contains(r.stderr, "metadata service"), r)
	})
	for _, why := range []string{"is a loopback address", "metadata service"} {
		waitLogged(t, log, "refused to connect to the kubelet of a node", why)
		testwait.Until(t, "an event: "+why, func(context.Context) error {
			events := k.ok(t, "describe", "node", "worker1")
			return unless(strings.Contains(events, "KubeletAddressRefused") && strings.Contains(events, why), events)
		})
	}
}

// waitLog waits until the kubelet's log has some words.
func (w *worker) waitLog(t *testing.T, words string) {
	t.Helper()
	testwait.Until(t, words, func(context.Context) error {
		return unless(strings.Contains(w.out.String(), words), "the log of the kubelet is below")
	})
}

// waitLogged waits until the control plane's log has a line with a message, and words
// in its fields.
func waitLogged(t *testing.T, log *observer.ObservedLogs, message string, words ...string) {
	t.Helper()
	testwait.Until(t, message+": "+strings.Join(words, ", "), func(context.Context) error {
		lines := log.FilterMessage(message)
		for _, word := range words {
			lines = lines.Filter(func(entry observer.LoggedEntry) bool {
				return strings.Contains(fmt.Sprint(entry.ContextMap()), word)
			})
		}
		return unless(lines.Len() > 0, log.All())
	})
}
