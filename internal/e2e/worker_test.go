// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"
)

// worker is a kubelet in its own process, with its own address on this machine.
type worker struct {
	*process
	name     string
	address  string // 127.x.y.z, port 10250
	flags    []string
	dir      string // of all its files
	endpoint string // CRI
}

// kubeletConfiguration has the fields that a worker needs to join, and below the second
// comment fields that make it small and fast.
const kubeletConfiguration = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
# A certificate of its own as client and as server, from the control plane.
rotateCertificates: true
serverTLSBootstrap: true
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: ca.crt}
authorization:
  mode: Webhook
  webhook: {cacheUnauthorizedTTL: 100ms} # A right that was just given counts at once.
containerRuntimeEndpoint: unix://%[1]s/cri.sock
# Many on one machine, without cgroups and iptables.
address: %[2]s
healthzBindAddress: %[2]s
podLogsDir: %[1]s/pod-logs
resolvConf: ""
failCgroupV1: false
cgroupsPerQOS: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
enableControllerAttachDetach: false
nodeStatusUpdateFrequency: 1s
nodeLeaseDurationSeconds: 4 # Renewed every second.
syncFrequency: 1s
volumeStatsAggPeriod: -1s
`

// startWorker starts a kubelet that joins with the join file, and waits until its node
// has an address.
func startWorker(t *testing.T, p plane, name string) *worker {
	t.Helper()
	w := newWorker(t, p, name)
	w.start(t)
	w.setAddress(t, p.client(t))
	return w
}

// newWorker prepares a kubelet for joining without starting it.
func newWorker(t *testing.T, p plane, name string) *worker {
	t.Helper()
	// Not t.TempDir: the path of a unix socket is limited to some 100 characters.
	dir, err := os.MkdirTemp("", "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w := &worker{
		name: name, dir: dir, endpoint: "unix://" + filepath.Join(dir, "cri.sock"),
		// The kubelet takes no listener, so several on one machine need different
		// addresses.
		address: fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(255), 1+rand.IntN(254)),
	}
	w.write(t, "config.yaml", fmt.Appendf(nil, kubeletConfiguration, dir, w.address))
	w.write(t, "ca.crt", p.ca(t))
	w.joinWith(t, p.joinKubeconfig(t))
	return w
}

// joinWith sets another join file.
func (w *worker) joinWith(t *testing.T, kubeconfig []byte) {
	t.Helper()
	w.write(t, "join.yaml", kubeconfig)
}

func (w *worker) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(w.file(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// file returns the path of a file in the worker's directory.
func (w *worker) file(name ...string) string {
	return filepath.Join(append([]string{w.dir}, name...)...)
}

// start starts the kubelet, also after a kill. Its fake container runtime ends with it
// and forgets its containers, as after a reboot.
func (w *worker) start(t *testing.T) {
	t.Helper()
	w.process = startProcess(t, nil, "kubelet", append([]string{
		"--bootstrap-kubeconfig=" + w.file("join.yaml"), "--kubeconfig=" + w.file("kubeconfig.yaml"),
		"--cert-dir=" + w.file("pki"), "--config=" + w.file("config.yaml"), "--root-dir=" + w.dir,
		"--hostname-override=" + w.name, "--cloud-provider=external",
	}, w.flags...)...)
}

// setAddress waits for the node and writes its address like a cloud's controller,
// because kubelets do not register loopback addresses.
func (w *worker) setAddress(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	waitNode(t, client, w.name, func(*corev1.Node) bool { return true })
	w.register(t, client, w.address)
}

// register sets the address of the worker's node.
func (w *worker) register(t *testing.T, client kubernetes.Interface, address string) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: address},
		{Type: corev1.NodeHostName, Address: w.name},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Nodes().Patch(t.Context(), w.name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// containers returns the names of the running containers, as "crictl ps" shows them.
func (w *worker) containers(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	runtime, err := cri.NewRemoteRuntimeServiceBuilder().WithEndpoint(w.endpoint).WithConnectionTimeout(15 * time.Second).Build(ctx)
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	defer func() { _ = runtime.Close(ctx) }()
	running, err := runtime.ListContainers(ctx, &criv1.ContainerFilter{
		State: &criv1.ContainerStateValue{State: criv1.ContainerState_CONTAINER_RUNNING},
	})
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	var names []string
	for _, c := range running {
		names = append(names, fmt.Sprintf("%s/%s", c.Labels["io.kubernetes.pod.name"], c.Metadata.Name))
	}
	slices.Sort(names)
	return names
}

// ready reports whether a node has the condition Ready.
func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// running reports whether all containers of a pod run and it has an address.
func running(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && pod.Status.PodIP != "" &&
		slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
}
