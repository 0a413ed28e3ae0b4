// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// joinRace joins workers, while a thief with a join file requests their names: when
// they get their certificate, when their Node exists, and by watching requests.
func joinRace(ctx context.Context, t *target, s *stats) {
	honest, doneHonest := client(t.config(t.Join[joinHonest]))
	defer doneHonest()
	thief, doneThief := client(t.config(t.Join[joinThief]))
	defer doneThief()
	admin, doneAdmin := client(t.config(t.Admin))
	defer doneAdmin()
	rounds(ctx, 300*time.Millisecond, func() {
		node := "worker-" + lower()[:10]
		worker, err := askToJoin(ctx, t, honest, "join-"+node, node)
		if err != nil {
			s.note("a worker did not get in")
			return
		}
		s.note("workers joined")
		steal := func() {
			s.tries.Add(1)
			if _, err := askToJoin(ctx, t, thief, "thief-"+lower(), node); err == nil {
				s.win("a certificate for %s, which had one", node)
			}
			s.answered.Add(1)
		}
		steal()
		kubelet, done := client(worker)
		defer done()
		if err := register(ctx, kubelet, newNode(node, 10250)); err != nil {
			s.note("a worker did not register")
			return
		}
		steal()
		// Delete the node to limit their number. The name is not used again.
		_ = admin.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
	})
}

// serverNames requests, as a node, serving certificates for names of the control plane,
// and checks whether clients would accept them.
func serverNames(ctx context.Context, t *target, s *stats) {
	evil, done := client(t.config(t.Nodes["evil"]))
	defer done()
	roots := t.roots()
	host, _, _ := net.SplitHostPort(t.host())
	names := []string{"localhost", host, "kubernetes.default.svc", "kubernetes", apiHost, hookHost, "10.0.0.1", "registry.k8s.io"}
	addresses := []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "evil"}}
	for _, name := range names {
		kind := corev1.NodeExternalDNS
		if net.ParseIP(name) != nil {
			kind = corev1.NodeExternalIP
		}
		addresses = append(addresses, corev1.NodeAddress{Type: kind, Address: name})
	}
	rounds(ctx, time.Second, func() {
		_ = register(ctx, evil, newNode("evil", 10250, addresses...))
		for _, name := range names {
			if ctx.Err() != nil {
				return
			}
			s.tries.Add(1)
			cert, _, err := ask(ctx, evil, "", certificatesv1.KubeletServingSignerName, "evil", []string{name})
			if err != nil {
				continue
			}
			s.answered.Add(1)
			// Only names of the control plane: other names are not protected.
			if name != "registry.k8s.io" && verifies(cert, roots, name) {
				s.win("a certificate that clients take for %s", name)
			}
		}
	})
}

func verifies(certificate []byte, roots *x509.CertPool, host string) bool {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return false
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	_, err = parsed.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
	return err == nil
}

// goodAddress is the address of the kubelet of the node good.
const goodAddress = "127.0.0.77"

// nodeSquatter registers, as a compromised node, the addresses of all others, gets a
// serving certificate for the address of good, and answers there. The administrator
// must not connect to it, and good must get its certificate.
func nodeSquatter(ctx context.Context, t *target, s *stats) {
	squatter, doneSquatter := client(t.config(t.Nodes["squatter"]))
	defer doneSquatter()
	good, doneGood := client(t.config(t.Nodes["good"]))
	defer doneGood()
	admin, doneAdmin := client(t.config(t.Admin))
	defer doneAdmin()

	kubelet, err := serve(goodAddress, func(_ http.ResponseWriter, r *http.Request) {
		s.win("the squatter was sent %s %s for good", r.Method, r.URL)
	})
	if err != nil {
		s.note(err.Error())
		return
	}
	defer kubelet.stop()
	port := kubelet.port
	rounds(ctx, time.Second, func() {
		_ = register(ctx, good, newNode("good", port))
		addresses := []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "good"}, internal(goodAddress)}
		for i := range 250 {
			addresses = append(addresses, internal(fmt.Sprintf("198.51.100.%d", i+1)))
		}
		for i := range 50 {
			addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeExternalDNS, Address: fmt.Sprintf("node-%d", i)})
		}
		_ = register(ctx, squatter, newNode("squatter", 10250, addresses...))
		s.tries.Add(1)
		cert, key, err := ask(ctx, squatter, "", certificatesv1.KubeletServingSignerName, "squatter", []string{goodAddress})
		if err == nil {
			s.answered.Add(1)
			kubelet.use(cert, key)
		}
		// The address becomes good's.
		if err := register(ctx, good, newNode("good", port, internal(goodAddress))); err != nil {
			return
		}
		switch _, _, err := ask(ctx, good, "", certificatesv1.KubeletServingSignerName, "good", []string{goodAddress}); {
		case err == nil:
			s.note("good got its certificate")
		case strings.Contains(err.Error(), errRefused.Error()):
			s.win("good was refused its own certificate: %v", err)
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		admin.CoreV1().RESTClient().Post().AbsPath("/api/v1/nodes/good/proxy/run/x").Body([]byte("what the administrator typed")).Do(ctx)
	})
}
