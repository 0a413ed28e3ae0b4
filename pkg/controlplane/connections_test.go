// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin

package controlplane_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func init() { programs["crowded"] = crowdedMain }

// crowdedMain runs a control plane in a process with a limit of open files. It writes
// kubeconfigs to its directory.
func crowdedMain(args []string) error {
	dir := args[0]
	files, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur, limit.Max = files, files
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	server, err := controlplane.Start(context.Background(), controlplane.Config{
		DataDir:      filepath.Join(dir, "data"),
		InsecureAddr: "127.0.0.1:0",
		Snapshots:    controlplane.Snapshots{Dir: filepath.Join(dir, "snapshots"), Interval: 300 * time.Millisecond, Keep: 1},
		Audit:        apiserver.Audit{Log: apiserver.AuditLog{Path: filepath.Join(dir, "audit", "log"), MaxSizeMB: 1, MaxBackups: 1}},
		Logger:       zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stderr), zap.WarnLevel)),
	})
	if err != nil {
		fmt.Println("refused:", err)
		return nil
	}
	join, err := server.JoinKubeconfig(context.Background(), time.Hour)
	if err != nil {
		return err
	}
	administrator, err := server.Kubeconfig("administrator", "system:masters")
	if err != nil {
		return err
	}
	node, err := server.NodeKubeconfig("worker")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"join": join, "administrator": administrator, "node": node} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	fmt.Println(server.URL(), server.InsecureURL())
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	select {
	case <-end:
		err = server.Close()
	case <-server.Done():
		err = errors.Join(errors.New("it ended by itself"), server.Err(), server.Close())
	}
	fmt.Println("closed:", err)
	return nil
}

// TestFewOpenFiles: a start with too few open files fails before it changes anything.
func TestFewOpenFiles(t *testing.T) {
	dir := t.TempDir()
	line := startProcess(t, "crowded", dir, "32").readLine(t)
	if !strings.HasPrefix(line, "refused: controlplane: start: the limit of open files (RLIMIT_NOFILE) is 32") || !strings.Contains(line, "ulimit -n") {
		t.Error(line)
	}
	if left := entries(t, dir); len(left) > 0 {
		t.Errorf("left behind: got %v, want nothing", left)
	}
}

// TestMoreConnectionsThanFiles: clients hold more connections than the process may open
// files, in every possible way. The control plane keeps running and opens files. Its
// clients do not notice, and new ones can connect.
func TestMoreConnectionsThanFiles(t *testing.T) {
	// The log of etcd is in segments of 64 MB; to fill one takes seconds.
	for files, writes := range map[int]int{256: 150, 1024: 10} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			var own syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own); err != nil || own.Cur < uint64(2*files+500) {
				t.Skipf("this process may open %d files itself: %v", own.Cur, err)
			}
			dir := t.TempDir()
			p := startProcess(t, "crowded", dir, strconv.Itoa(files))
			urls := strings.Fields(p.readLine(t))
			if len(urls) != 2 {
				t.Fatal(urls)
			}
			kubeconfig := func(name string) *rest.Config {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return fromKubeconfig(t, data)
			}
			administrator := kubeconfig("administrator")
			client := clientFor(t, administrator)
			if _, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
				t.Fatal(err)
			}

			var crowd crowd
			defer crowd.leave()
			secure, insecure := hostPort(t, urls[0]), hostPort(t, urls[1])
			join, node := kubeconfig("join"), kubeconfig("node")
			join.NextProtos, node.NextProtos = []string{"http/1.1"}, []string{"http/1.1"}
			crowd.hold(files, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", secure) })
			crowd.hold(files/2, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", insecure) })
			crowd.hold(40, func(ctx context.Context) (net.Conn, error) { return handshake(ctx, secure, nil) })
			crowd.hold(40, func(ctx context.Context) (net.Conn, error) {
				return request(ctx, secure, nil, "GET /version HTTP/1.1\r\n")
			})
			crowd.hold(40, func(ctx context.Context) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", insecure)
				return asked(ctx, conn, err, "GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: "+insecure+"\r\n\r\n")
			})
			crowd.hold(40, func(ctx context.Context) (net.Conn, error) {
				return request(ctx, secure, nil, "GET /version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+join.BearerToken+"\r\n\r\n")
			})
			crowd.hold(80, func(ctx context.Context) (net.Conn, error) {
				return request(ctx, secure, node, "GET /api/v1/services?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
			})
			crowd.gather(t)

			for i := range writes {
				if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), bigConfigMap(i), metav1.CreateOptions{}); err != nil {
					t.Fatalf("write %d: %v\n%s", i, err, &p.stderr)
				}
			}
			logs, err := filepath.Glob(filepath.Join(dir, "data", "etcd", "member", "wal", "*.wal"))
			if err != nil || writes > 100 && len(logs) < 2 {
				t.Errorf("etcd's log files: got %v, %v, want at least 2 after %d writes", logs, err, writes)
			}
			snapshots := entries(t, filepath.Join(dir, "snapshots"))
			within(t, "another snapshot", func() bool {
				now := entries(t, filepath.Join(dir, "snapshots"))
				return len(now) > 0 && now[len(now)-1] > snapshots[len(snapshots)-1]
			})
			within(t, "a new client", func() bool {
				fresh, err := kubernetes.NewForConfig(unshared(administrator))
				if err != nil {
					t.Fatal(err)
				}
				_, err = fresh.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
				return err == nil
			})
			metrics, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{
				`kubembed_connections_closed_total{client="unauthenticated",listener="https"}`,
				`kubembed_connections_closed_total{client="unauthenticated",listener="insecure"}`,
				"kubembed_connections_limit ", "kubembed_connections ",
			} {
				if !strings.Contains(string(metrics), "\n"+want) {
					t.Errorf("metrics: got no %s, want it", want)
				}
			}
			crowd.leave()
			if err := p.stdin.Close(); err != nil {
				t.Fatal(err)
			}
			if line := p.readLine(t); line != "closed: <nil>" {
				t.Errorf("got %q, want \"closed: <nil>\"\n%s", line, &p.stderr)
			}
			_ = p.Wait()
			if lines := strings.Count(p.stderr.String(), "connections were closed"); lines < 1 || lines > 20 {
				t.Errorf("lines about closed connections in the log: got %d, want 1 to 20", lines)
			}
		})
	}
}

func bigConfigMap(i int) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("big-", i)}, BinaryData: map[string][]byte{"x": make([]byte, 500_000)}}
}

// unshared returns a configuration whose client opens its own connection.
func unshared(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.Dial = (&net.Dialer{}).DialContext
	return c
}

func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := lifecycle.Poll(ctx, done); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// handshake is a connection after a TLS handshake, with or without a client certificate.
func handshake(ctx context.Context, address string, user *rest.Config) (net.Conn, error) {
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	if user != nil {
		cert, err := tls.X509KeyPair(user.CertData, user.KeyData)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
}

// request is a connection on which something has been sent, and if that was a whole
// request, an answer has begun.
func request(ctx context.Context, address string, user *rest.Config, text string) (net.Conn, error) {
	conn, err := handshake(ctx, address, user)
	return asked(ctx, conn, err, text)
}

func asked(ctx context.Context, conn net.Conn, err error, text string) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, err = io.WriteString(conn, text)
	if err == nil && strings.HasSuffix(text, "\r\n\r\n") {
		var response *http.Response
		if response, err = http.ReadResponse(bufio.NewReader(conn), nil); err == nil && response.StatusCode != http.StatusOK {
			err = errors.New(response.Status)
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, conn.SetDeadline(time.Time{})
}

// crowd holds connections, and replaces each that is closed.
type crowd struct {
	running sync.WaitGroup
	end     context.CancelFunc
	ctx     context.Context
	first   []chan struct{}
}

// hold holds so many connections that dial makes.
func (c *crowd) hold(number int, dial func(context.Context) (net.Conn, error)) {
	if c.ctx == nil {
		c.ctx, c.end = context.WithCancel(context.Background())
	}
	first := make(chan struct{})
	c.first = append(c.first, first)
	c.running.Go(func() {
		var open []net.Conn
		pause := time.NewTicker(100 * time.Millisecond)
		defer pause.Stop()
		for {
			kept := open[:0]
			for _, conn := range open {
				if isClosed(conn) {
					_ = conn.Close()
				} else {
					kept = append(kept, conn)
				}
			}
			open = kept
			var mu sync.Mutex
			var dialing sync.WaitGroup
			for range number - len(kept) {
				dialing.Go(func() {
					if conn, err := dial(c.ctx); err == nil {
						mu.Lock()
						defer mu.Unlock()
						open = append(open, conn)
					}
				})
			}
			dialing.Wait()
			if first != nil {
				close(first)
				first = nil
			}
			select {
			case <-pause.C:
			case <-c.ctx.Done():
				for _, conn := range open {
					_ = conn.Close()
				}
				return
			}
		}
	})
}

// gather waits until each has connected once.
func (c *crowd) gather(t *testing.T) {
	t.Helper()
	for _, first := range c.first {
		select {
		case <-first:
		case <-time.After(time.Minute):
			t.Fatal("not all clients have connected")
		}
	}
}

func (c *crowd) leave() {
	if c.end != nil {
		c.end()
	}
	c.running.Wait()
}

// isClosed reports whether the server has closed an idle connection.
func isClosed(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	return err != nil && (!errors.As(err, &timeout) || !timeout.Timeout())
}
