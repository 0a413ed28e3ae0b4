// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
)

// TestMergedPorts: a stored port is the configured one of its name, or of its protocol
// and port. The Service has no two ports of the same name, or protocol and port.
func TestMergedPorts(t *testing.T) {
	ports := func(text string) (all []corev1.ServicePort) {
		for field := range strings.FieldsSeq(text) {
			port := corev1.ServicePort{Protocol: corev1.ProtocolTCP}
			name, rest, _ := strings.Cut(field, ":")
			number, udp := strings.CutSuffix(rest, "/udp")
			if port.Name = name; udp {
				port.Protocol = corev1.ProtocolUDP
			}
			if _, err := fmt.Sscan(number, &port.Port); err != nil {
				t.Fatal(err)
			}
			port.TargetPort = intstr.FromInt32(port.Port)
			all = append(all, port)
		}
		return all
	}
	for _, test := range []struct{ stored, configured, want string }{
		{"https:443", "a:1 b:2", "https:443 a:1 b:2"},
		{"https:443 a:1 b:2", "b:2 a:1", "https:443 a:1 b:2"},
		{"https:443 a:1 other:9", "a:3", "https:443 a:3 other:9"},
		{"https:443 a:1", "b:1", "https:443 b:1"},
		{"https:443 a:1", "a:1/udp b:1", "https:443 a:1/udp b:1"},
		{"https:443 a:1 b:2", "a:2", "https:443 a:2"},
		{"https:443 a:1 b:2", "a:2 b:1", "https:443 a:2 b:1"},
		{"https:443 a:1 b:2", "b:1 c:2", "https:443 b:1 c:2"},
		{"https:443 a:1 b:2", "c:2 b:1", "https:443 b:1 c:2"},
		{"https:8443", "a:8443", "https:8443 a:8443"}, // upstream refuses it
	} {
		r := WithPorts(t.Context(), reconcilers.NewNoneEndpointReconciler(), fake.NewClientset().CoreV1().Services("default"), ports(test.configured), zap.NewNop())
		stored := ports(test.stored)
		var got []string
		for _, port := range r.(*portsReconciler).merged(stored) {
			text := fmt.Sprintf("%s:%d", port.Name, port.Port)
			if port.Protocol == corev1.ProtocolUDP {
				text += "/udp"
			}
			got = append(got, text)
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s with %s: got %s, want %s", test.stored, test.configured, text, test.want)
		}
		if fmt.Sprint(stored) != fmt.Sprint(ports(test.stored)) {
			t.Errorf("%s with %s: the stored ports have changed", test.stored, test.configured)
		}
	}
}
