// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestPodVolumes runs a pod with volumes that its kubelet requests from the control
// plane: a ConfigMap, a Secret, and a service account's token.
func TestPodVolumes(t *testing.T) {
	p, _ := startServer(t, controlplane.Config{})
	k, client := p.kubectl(t), p.client(t)
	w := startWorker(t, p, "worker1")
	k.ok(t, "apply", "-f", "testdata/volumes.yaml")
	pod := waitPod(t, client, "reader", running)

	settings := w.volume(pod.UID, "configmap", "settings", "colour")
	wantIs(t, read(t, settings), "red")
	k.ok(t, "patch", "configmap", "settings", "--type=merge", "-p", `{"data":{"colour":"green"}}`)
	testwait.Until(t, "green", func(context.Context) error {
		colour := read(t, settings)
		return unless(colour == "green", colour)
	})

	robot := k.withCredentials(t, clientcmdapi.AuthInfo{Token: read(t, w.volume(pod.UID, "projected", "token", "token"))})
	want(t, squeeze(robot.ok(t, "auth", "whoami", "-o", "yaml")), "username: system:serviceaccount:default:robot",
		"authentication.kubernetes.io/pod-name: - reader", "authentication.kubernetes.io/node-name: - worker1")
}

// volume returns the path of the file that a kubelet writes for a volume of a pod.
func (w *worker) volume(pod types.UID, plugin, volume, file string) string {
	return filepath.Join(w.dir, "pods", string(pod), "volumes", "kubernetes.io~"+plugin, volume, file)
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestDrain evicts the pods of a node.
func TestDrain(t *testing.T) {
	p, _ := startServer(t, controlplane.Config{})
	k, client := p.kubectl(t), p.client(t)
	w := startWorker(t, p, "worker1")
	waitNode(t, client, "worker1", ready)
	k.ok(t, "apply", "-f", nginxWorker1)
	waitPod(t, client, "nginx", running)

	k.fails(t, "", "cannot delete Pods that declare no controller", "drain", "worker1")
	want(t, k.ok(t, "drain", "worker1", "--force"), "node/worker1 already cordoned", "evicting pod default/nginx", "pod/nginx evicted", "node/worker1 drained")
	wantIs(t, k.ok(t, "get", "pods", "-o", "name"), "")
	wantContainers(t, w)
	if rows := table(t, k.ok(t, "get", "nodes")); len(rows) != 1 || rows[0]["STATUS"] != "Ready,SchedulingDisabled" {
		t.Errorf("got %v", rows)
	}
	wantIs(t, k.ok(t, "uncordon", "worker1"), "node/worker1 uncordoned")
}

// TestKubeletRestart kills a kubelet and starts it again: it has the same node and
// pods, and runs the pods that should run.
func TestKubeletRestart(t *testing.T) {
	p, _ := startServer(t, controlplane.Config{})
	k, client := p.kubectl(t), p.client(t)
	w := startWorker(t, p, "worker1")
	node := waitNode(t, client, "worker1", ready)
	k.ok(t, "apply", "-f", nginxWorker1)
	pod := waitPod(t, client, "nginx", running)

	w.kill(t)
	killed := metav1.NowMicro()
	k.ok(t, "delete", "pod", "nginx", "--wait=false")
	k.ok(t, "run", "meanwhile", "--image=nginx:latest", `--overrides={"spec":{"nodeName":"worker1"}}`)
	// The deletion is not confirmed while the kubelet is down.
	if gone, err := client.CoreV1().Pods("default").Get(t.Context(), "nginx", metav1.GetOptions{}); err != nil || gone.UID != pod.UID || gone.DeletionTimestamp == nil {
		t.Errorf("got %v, %v", gone, err)
	}

	w.start(t)
	waitPod(t, client, "meanwhile", running)
	k.ok(t, "wait", "--for=delete", "pod/nginx", "--timeout=60s")
	wantContainers(t, w, "meanwhile/meanwhile")
	waitLease(t, client, "worker1", renewedAfter(killed))
	again := waitNode(t, client, "worker1", ready)
	if again.UID != node.UID {
		t.Errorf("node has UID %s, had %s", again.UID, node.UID)
	}
}
