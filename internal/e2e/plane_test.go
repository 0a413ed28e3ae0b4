// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// plane gives tests access to a control plane, in this process or in another.
type plane struct {
	url            string
	adminConfig    []byte // kubeconfig
	nodeKubeconfig func(t *testing.T, name string) []byte
	joinKubeconfig func(t *testing.T) []byte
}

// startServer starts a control plane in this process.
func startServer(t *testing.T, cfg controlplane.Config) (plane, *controlplane.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := controlplane.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	admin, err := server.Kubeconfig("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	return plane{
		url:         server.URL(),
		adminConfig: admin,
		nodeKubeconfig: func(t *testing.T, name string) []byte {
			t.Helper()
			node, err := server.NodeKubeconfig(name)
			if err != nil {
				t.Fatal(err)
			}
			return node
		},
		joinKubeconfig: func(t *testing.T) []byte { return joinKubeconfig(t, server, time.Hour) },
	}, server
}

// joinKubeconfig returns a join file.
func joinKubeconfig(t *testing.T, server *controlplane.Server, lifetime time.Duration) []byte {
	t.Helper()
	join, err := server.JoinKubeconfig(t.Context(), lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return join
}

// ca returns the certificate of the control plane's CA.
func (p plane) ca(t *testing.T) []byte {
	t.Helper()
	return p.clientConfig(t).CAData
}

// kubectl returns a kubectl for the administrator.
func (p plane) kubectl(t *testing.T) *kubectl {
	t.Helper()
	return kubectlFor(t, p.adminConfig)
}

// clientConfig returns the administrator's configuration, over TLS.
func (p plane) clientConfig(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(p.adminConfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

// client returns a client for the administrator, over TLS.
func (p plane) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(p.clientConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// kubembedMain runs a control plane until SIGTERM. When it is ready, it writes the
// kubeconfig files to the given directory and its address to stdout.
func kubembedMain(args []string) (err error) {
	flags := flag.NewFlagSet("kubembed", flag.ContinueOnError)
	cfg := controlplane.Config{}
	flags.StringVar(&cfg.DataDir, "data-dir", "", "where the state is")
	flags.StringVar(&cfg.BindAddress, "bind-address", "", "host:port")
	kubeconfigs := flags.String("kubeconfigs", "", "directory for the kubeconfig files")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	server, err := controlplane.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Shutdown(context.Background())) }()

	config, err := server.Kubeconfig("admin", "system:masters")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*kubeconfigs, "admin"), config, 0o600); err != nil {
		return err
	}
	join, err := server.JoinKubeconfig(ctx, time.Hour)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*kubeconfigs, "join"), join, 0o600); err != nil {
		return err
	}
	fmt.Println(server.URL())
	<-ctx.Done()
	return nil
}

// startProcessPlane starts a control plane in a process of its own. An empty address
// selects a free one.
func startProcessPlane(t *testing.T, dataDir, address string) (plane, *process) {
	t.Helper()
	kubeconfigs := t.TempDir()
	read := func(t *testing.T, name string) []byte {
		t.Helper()
		config, err := os.ReadFile(filepath.Join(kubeconfigs, name))
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	url := &firstLine{line: make(chan string, 1)}
	process := startProcess(t, url, "kubembed", "--data-dir="+dataDir, "--bind-address="+address, "--kubeconfigs="+kubeconfigs)
	select {
	case url := <-url.line:
		return plane{
			url: url, adminConfig: read(t, "admin"),
			joinKubeconfig: func(t *testing.T) []byte { return read(t, "join") },
		}, process
	case <-process.done:
		t.Fatal("the control plane ended before it was ready")
	case <-time.After(time.Minute):
		t.Fatal("the control plane was not ready within a minute")
	}
	return plane{}, nil
}

// firstLine is a writer that sends its first line to a channel.
type firstLine struct {
	buf  bytes.Buffer
	line chan string // buffered
	sent bool
}

func (w *firstLine) Write(p []byte) (int, error) {
	if w.sent {
		return len(p), nil
	}
	w.buf.Write(p)
	if line, err := w.buf.ReadString('\n'); err == nil {
		w.sent = true
		w.line <- strings.TrimSpace(line)
	} else if errors.Is(err, io.EOF) {
		w.buf.WriteString(line)
	}
	return len(p), nil
}

// waitNode waits until done returns true for a node.
func waitNode(t *testing.T, client kubernetes.Interface, name string, done func(*corev1.Node) bool) *corev1.Node {
	t.Helper()
	return testwait.Object(t, testwait.Named(client.CoreV1().RESTClient(), "nodes", "", name), &corev1.Node{}, done)
}

// waitPod waits until done returns true for a pod in the namespace default.
func waitPod(t *testing.T, client kubernetes.Interface, name string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	return testwait.Object(t, testwait.Named(client.CoreV1().RESTClient(), "pods", "default", name), &corev1.Pod{}, done)
}

// waitLease waits until done returns true for the Lease of a node.
func waitLease(t *testing.T, client kubernetes.Interface, node string, done func(*coordinationv1.Lease) bool) *coordinationv1.Lease {
	t.Helper()
	return testwait.Object(t, testwait.Named(client.CoordinationV1().RESTClient(), "leases", corev1.NamespaceNodeLease, node), &coordinationv1.Lease{}, done)
}

// unless returns nil if ok, and otherwise an error with the state that was seen last.
func unless(ok bool, seen any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("last seen: %v", seen)
}
