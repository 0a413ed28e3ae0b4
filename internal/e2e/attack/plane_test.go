// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

const (
	hollowNodes = 50
	descriptors = 1024
	// quota limits the use of this machine's disk by attackers.
	quota = 512 << 20
	// diskSize is the size of the disk for snapshots.
	diskSize = "256m"

	steady   = "node-steady"       // the node of nodesReady that is not hollow
	apiHost  = "api.example.com"   // of Config.Hosts
	hookHost = "hooks.example.com" // of Server.ServingCertificate
)

var snapshotKey = []byte("of the attacked control plane and of nobody else")

// planeMain runs a control plane until stdin ends. When it is ready it prints a target.
// If the control plane stops by itself, the process ends.
func planeMain(args []string) error {
	flags := flag.NewFlagSet("attacked-plane", flag.ContinueOnError)
	dir := flags.String("dir", "", "where everything is")
	disk := flags.Bool("snapshot-disk", false, "mount a disk of its own for snapshots")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: descriptors, Max: descriptors}); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	snapshots := filepath.Join(*dir, "snapshots")
	if err := os.Mkdir(snapshots, 0o700); err != nil {
		return err
	}
	if *disk {
		// In the mount namespace of this process, so the mount ends with it.
		if err := unix.Mount("none", snapshots, "tmpfs", 0, "mode=0700,size="+diskSize); err != nil {
			return fmt.Errorf("mount a disk for snapshots: %w", err)
		}
	}
	logFile, err := os.OpenFile(filepath.Join(*dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(logFile), zap.WarnLevel))
	ctx := context.Background()
	server, err := controlplane.Start(ctx, controlplane.Config{
		DataDir:      filepath.Join(*dir, "data"),
		InsecureAddr: "127.0.0.1:0",
		Hosts:        []string{apiHost},
		Etcd:         controlplane.Etcd{QuotaBytes: quota},
		Audit:        apiserver.Audit{Log: apiserver.AuditLog{Path: filepath.Join(*dir, "audit.log"), MaxSizeMB: 50, MaxBackups: 1}},
		Snapshots:    controlplane.Snapshots{Dir: snapshots, Interval: 3 * time.Second, Keep: 3},
		SnapshotKey:  snapshotKey,
		Logger:       logger,
		Components: []controlplane.Component{
			controllers.New(controllers.Config{Controllers: []string{controllers.Workloads, controllers.Nodes}, Logger: logger}),
			hollownode.New(hollownode.Config{Count: hollowNodes, Logger: logger}),
			scheduler.New(scheduler.Config{Logger: logger}),
		},
	})
	if err != nil {
		return err
	}
	t := target{URL: server.URL(), Insecure: server.InsecureURL(), Snapshots: snapshots, SnapshotDisk: *disk, Descriptors: descriptors}
	if err := t.fill(ctx, server); err != nil {
		return errors.Join(err, server.Close())
	}
	if err := json.NewEncoder(os.Stdout).Encode(t); err != nil {
		return errors.Join(err, server.Close())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case <-ended:
		return server.Close()
	case <-server.Done():
		return fmt.Errorf("the control plane has ended by itself: %w", server.Err())
	}
}

// fill creates the attackers' credentials.
func (t *target) fill(ctx context.Context, server *controlplane.Server) (err error) {
	if t.Admin, err = server.Kubeconfig("admin", "system:masters"); err != nil {
		return err
	}
	if t.Low, err = server.Kubeconfig("low"); err != nil {
		return err
	}
	if _, err := server.ServingCertificate(hookHost); err != nil {
		return err
	}
	t.Nodes = map[string][]byte{}
	for _, name := range []string{"good", "evil", "squatter", "proxied", "page", steady} {
		if t.Nodes[name], err = server.NodeKubeconfig(name); err != nil {
			return err
		}
	}
	t.Join = make([][]byte, joinFiles)
	for i := range t.Join {
		if t.Join[i], err = server.JoinKubeconfig(ctx, 0); err != nil {
			return err
		}
	}
	admin, err := kubernetes.NewForConfig(server.ClientConfig())
	if err != nil {
		return err
	}
	if err := grant(ctx, admin, "proxy-of-one-node", rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"nodes/proxy"}, ResourceNames: []string{"proxied"}, Verbs: []string{"*"},
	}); err != nil {
		return err
	}
	return grant(ctx, admin, "reader", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list", "watch"}})
}

// grant grants a right to the user low.
func grant(ctx context.Context, admin kubernetes.Interface, name string, rule rbacv1.PolicyRule) error {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{rule}}
	if _, err := admin.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "low"}},
	}, metav1.CreateOptions{})
	return err
}

// plane is a control plane in its own process.
type plane struct {
	*target
	dir    string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr string // path of its standard error
	done   chan struct{}
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{dir: t.TempDir(), done: make(chan struct{})}
	p.cmd = exec.Command(self, "-dir", p.dir)
	p.cmd.Args[0] = "attacked-plane"
	if os.Geteuid() == 0 {
		p.cmd.Args = append(p.cmd.Args, "-snapshot-disk")
		p.cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	}
	p.stderr = filepath.Join(p.dir, "stderr")
	stderr, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stderr.Close() }()
	p.cmd.Stderr = stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// When this process dies, stdin of the other one ends, and with it the process.
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan error, 1)
	go func() {
		defer close(p.done)
		p.target = &target{}
		ready <- json.NewDecoder(bufio.NewReader(stdout)).Decode(p.target)
		_, _ = io.Copy(io.Discard, stdout)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	select {
	case err = <-ready:
	case <-time.After(2 * time.Minute):
		err = errors.New("not ready within two minutes")
	}
	if err != nil {
		t.Fatalf("not started: %v: %s", err, p.lastWords())
	}
	if p.SnapshotDisk {
		// This process has another mount namespace.
		p.Snapshots = fmt.Sprintf("/proc/%d/root%s", p.cmd.Process.Pid, p.Snapshots)
	}
	return p
}

// lastWords returns the beginning of the process's stderr.
func (p *plane) lastWords() string {
	data, _ := os.ReadFile(p.stderr)
	return fmt.Sprintf("%v: %.2000s", p.cmd.ProcessState, data)
}

// ended reports whether the process has ended.
func (p *plane) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop stops the control plane gracefully.
func (p *plane) stop(t *testing.T) {
	t.Helper()
	_ = p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		t.Error("the control plane does not stop within a minute")
		return
	}
	if !p.cmd.ProcessState.Success() {
		t.Errorf("the stop: %s", p.lastWords())
	}
}
