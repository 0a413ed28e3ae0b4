// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestHostIsLeftAlone runs a control plane in a process. It prints nothing, sends systemd
// nothing, and leaves the process's own state unchanged.
func TestHostIsLeftAlone(t *testing.T) {
	notify, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Skip("no systemd here:", err)
	}
	defer notify.Close()
	path := notify.LocalAddr().String()
	t.Setenv("NOTIFY_SOCKET", path)
	report := filepath.Join(t.TempDir(), "report")
	host := startProcess(t, "quiet", report)
	stdout, err := io.ReadAll(host.stdout)
	if err != nil {
		t.Fatal(err)
	}
	waitErr := host.Wait()
	problems, err := os.ReadFile(report)
	if waitErr != nil || err != nil || len(problems) > 0 {
		t.Errorf("the host: got %v, %v and the problems %q, want none", waitErr, err, problems)
	}
	if len(stdout) > 0 {
		t.Errorf("stdout: got %s, want nothing", stdout)
	}
	// klog belongs to the host before and after: of three lines, the one while the
	// control plane ran went to its logger.
	lines := strings.Split(strings.TrimSpace(host.stderr.String()), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "] before") || !strings.HasSuffix(lines[1], "] after") {
		t.Errorf("stderr: got %s, want two lines: before and after", &host.stderr)
	}

	// A message to systemd would come first.
	sender, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := io.WriteString(sender, "ours"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, _, err := notify.ReadFrom(buf); err != nil || string(buf[:n]) != "ours" {
		t.Errorf("messages to systemd: got %q, %v, want ours", buf[:n], err)
	}
}

// TestSignalsAreTheHosts: a host without signal handlers is killed by signals.
func TestSignalsAreTheHosts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send")
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			if signal.Ignored(sig) {
				t.Skip("ignored in this process (nohup), and so in those that it starts")
			}
			host := startProcess(t, "hold", t.TempDir())
			host.readLine(t)
			if err := host.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = host.Wait()
			if status, ok := host.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != sig {
				t.Errorf("the end of the host: got %v, want %v", host.ProcessState, sig)
			}
		})
	}
}

// quietMain is the host. It writes its findings to the given file.
func quietMain(args []string) error {
	klog.Info("before")
	before := snapshot()
	err := useControlPlane(context.Background(), func() {
		klog.Info("while it runs")
	})
	var problems strings.Builder
	if err != nil {
		fmt.Fprintln(&problems, err)
	}
	after := snapshot()
	for what, value := range before {
		if !reflect.DeepEqual(value, after[what]) {
			fmt.Fprintf(&problems, "%s: was %v, is %v\n", what, value, after[what])
		}
	}
	klog.Info("after")
	klog.Flush()
	return os.WriteFile(args[0], []byte(problems.String()), 0o600)
}

// useControlPlane starts a control plane, uses it as hosts do, makes upstream log errors,
// and stops it.
func useControlPlane(ctx context.Context, running func()) (err error) {
	server, err := controlplane.Start(ctx, controlplane.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	running()
	config := server.ClientConfig()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	pods, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Pods("default").Create(ctx, newPod("first"), metav1.CreateOptions{}); err != nil {
		return err
	}
	if e := <-pods.ResultChan(); e.Type != watch.Added {
		return fmt.Errorf("watch: %+v", e)
	}
	if err := defineWidgets(ctx, config); err != nil {
		return err
	}
	custom, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	if _, err := custom.Resource(widgetResource).Namespace("default").Create(ctx, newWidget("first"), metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := client.CoreV1().Pods("default").Create(ctx, newPod("Not_A_Name"), metav1.CreateOptions{}); err == nil {
		return errors.New("a bad request was accepted")
	}
	// A TLS client that does not trust the server, which net/http logs.
	response, err := http.Get(server.URL())
	if err == nil {
		response.Body.Close()
		return errors.New("the server was trusted")
	}
	return nil
}

// snapshot is the state that a process has once.
func snapshot() map[string]any {
	klogFlags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(klogFlags)
	environment := os.Environ()
	slices.Sort(environment)
	dir, err := os.Getwd()
	_, pattern := http.DefaultServeMux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/metrics"}})
	return map[string]any{
		"os.Args":               slices.Clone(os.Args),
		"environment":           environment,
		"working directory":     fmt.Sprint(dir, err),
		"flag.CommandLine":      flags(flag.CommandLine),
		"klog":                  flags(klogFlags),
		"log":                   fmt.Sprint(log.Writer() == os.Stderr, log.Flags(), log.Prefix()),
		"slog.Default":          slog.Default(),
		"zap.L":                 zap.L(),
		"http.DefaultTransport": http.DefaultTransport,
		"http.DefaultServeMux":  pattern,
		"GOMAXPROCS":            runtime.GOMAXPROCS(0),
		"feature gates":         fmt.Sprint(utilfeature.DefaultFeatureGate),
	}
}

func flags(set *flag.FlagSet) (values []string) {
	set.VisitAll(func(f *flag.Flag) { values = append(values, f.Name+"="+f.Value.String()) })
	return values
}
