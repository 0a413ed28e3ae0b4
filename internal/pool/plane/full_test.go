// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// TestFullStorage: a control plane whose storage a test has filled is not used again.
func TestFullStorage(t *testing.T) {
	p := startFor(t, protocol.Options{}, 4<<20)
	p.Begin("lease")
	client := kubernetes.NewForConfigOrDie(p.server.ClientConfig())
	var err error
	for i := 0; err == nil; i++ {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("large-", i)}, BinaryData: map[string][]byte{"x": make([]byte, 1<<19)}}
		_, err = client.CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{})
	}
	if !strings.Contains(err.Error(), "database space exceeded") {
		t.Fatal(err)
	}
	p.End()
	if err := p.Reset(t.Context()); err == nil || !strings.Contains(err.Error(), "NOSPACE") {
		t.Errorf("got %v, want the alarm", err)
	}
}
