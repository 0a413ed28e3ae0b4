// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// worker is a machine with containerd and a kubelet.
type worker struct {
	*machine
	test       *testing.T // the kubelet ends with it
	address    string
	home       string // the directory of the join file
	kubeletCmd []string
	containerd *process
	kubelet    *process
}

// newWorker sets up a machine in the network of the master as a worker without a
// kubelet. The number determines its addresses and the addresses of its pods.
func newWorker(t *testing.T, master *machine, number int, images string) *worker {
	t.Helper()
	name := fmt.Sprintf("worker%d", number)
	w := &worker{
		machine: newMachine(t, filepath.Dir(master.dir), name),
		test:    t,
		address: fmt.Sprintf("10.87.0.%d", 10+number),
	}
	w.home = filepath.Join(w.dir, "home")
	pods := fmt.Sprintf("10.87.%d.0/24", number)
	w.plug(t, master, pods)
	w.startContainerd(t, pods, images)
	return w
}

// plug connects the worker with the master's bridge, and the master with the pods on
// the worker.
func (w *worker) plug(t *testing.T, master *machine, pods string) {
	t.Helper()
	master.ip(t, "link", "add", w.name, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(w.pid))
	master.ip(t, "link", "set", w.name, "master", bridge, "up")
	w.ip(t, "addr", "add", w.address+"/24", "dev", "eth0")
	w.ip(t, "link", "set", "eth0", "up")
	w.ip(t, "route", "add", "default", "via", masterAddress)
	master.ip(t, "route", "add", pods, "via", w.address)
}

// startContainerd starts containerd and imports the images.
func (w *worker) startContainerd(t *testing.T, pods, images string) {
	t.Helper()
	plugins, _ := cniPlugin("bridge")
	w.write(t, "cni/10-pods.conflist", `{"cniVersion": "0.4.0", "name": "pods", "plugins": [{
		"type": "bridge", "bridge": "cni0", "isGateway": true,
		"ipam": {"type": "host-local", "ranges": [[{"subnet": "`+pods+`"}]], "routes": [{"dst": "0.0.0.0/0"}]}
	}]}`)
	// The settings that do not concern CNI: without a registry there is no default
	// sandbox image; the host may forbid a lower OOM score; a loaded AppArmor profile
	// would stay; and one overlay file system cannot have the upper layer of another.
	config := w.write(t, "containerd.toml", `
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "`+sandboxImage+`"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "`+plugins+`"
    conf_dir = "`+filepath.Join(w.dir, "cni")+`"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "`+w.snapshotter(t)+`"
`)
	w.containerd = w.spawn(t, w.command("containerd", "--config="+config))
	w.containerd.waitFor(t, "containerd successfully booted")
	w.ok(t, "ctr", "--namespace=k8s.io", "images", "import", "--snapshotter="+w.snapshotter(t), images)
}

func (w *worker) snapshotter(t *testing.T) string {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(w.dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

// setUp runs the commands that the master has printed for a worker, up to the kubelet,
// and adds settings for a worker that exists only in a test.
func (w *worker) setUp(t *testing.T, text string, joinFile []byte, bin string) {
	t.Helper()
	w.write(t, "home/join.kubeconfig", string(joinFile))
	typed := regexp.MustCompile(`(?ms)^(sed .*^EOF\n)sudo kubelet (.* --hostname-override=)worker1$`).FindStringSubmatch(text)
	if typed == nil {
		t.Fatalf("the output of the master has no commands for a worker:\n%s", text)
	}
	script, flags := typed[1], strings.ReplaceAll(typed[2]+w.name, "\\\n", " ")
	c := w.command("sh", "-e", "-c", script)
	c.Dir = w.home
	if r := w.run(t, c, allOfIt); r.code != 0 {
		t.Fatal(r)
	}
	w.kubeletCmd = append([]string{filepath.Join(bin, "kubelet")}, strings.Fields(flags)...)

	// The kubelet resolves the machine's name.
	hosts := w.write(t, "hosts", "127.0.0.1 localhost\n"+w.address+" "+w.name+"\n")
	w.ok(t, "mount", "--bind", hosts, "/etc/hosts")
	resolvConf := w.write(t, "resolv.conf", "nameserver "+masterAddress+"\n")
	w.appendTo(t, filepath.Join(w.home, "kubelet.yaml"), `
# Two kubelets with one cgroup would end each other's pods.
cgroupRoot: /`+filepath.Base(filepath.Dir(w.dir))+`/`+w.name+`
# The host may be old, or short of space.
failCgroupV1: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 1Mi, nodefs.available: 1Mi, nodefs.inodesFree: "1", imagefs.available: 1Mi, imagefs.inodesFree: "1"}
# The usual file and directory are the host's.
resolvConf: `+resolvConf+`
volumePluginDir: /var/lib/kubelet/volume-plugins
`)
	if err := makeCgroup(filepath.Join(filepath.Base(filepath.Dir(w.dir)), w.name)); err != nil {
		t.Fatal(err)
	}
}

// startKubelet starts the kubelet, or starts it again.
func (w *worker) startKubelet() {
	w.test.Helper()
	c := w.command(w.kubeletCmd[0], w.kubeletCmd[1:]...)
	c.Dir = w.home
	w.kubelet = w.spawn(w.test, c)
}

// tasks returns the IDs of containerd's running containers, including sandboxes.
func (w *worker) tasks(t *testing.T) []string {
	t.Helper()
	tasks := strings.Fields(w.ok(t, "ctr", "--namespace=k8s.io", "tasks", "ls", "--quiet"))
	slices.Sort(tasks)
	return tasks
}

// write writes a file below the directory of a machine, and returns its path.
func (m *machine) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (m *machine) appendTo(t *testing.T, path, content string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(before, content...), 0o600); err != nil {
		t.Fatal(err)
	}
}
