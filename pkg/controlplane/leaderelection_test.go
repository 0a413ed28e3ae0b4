// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// shifts records which of several control planes runs a component.
type shifts struct {
	mu      sync.Mutex
	running map[int]bool
	begun   map[int]int
	most    int
}

func newShifts() *shifts { return &shifts{running: map[int]bool{}, begun: map[int]int{}} }

// worker is the component in one control plane.
type worker struct {
	name   string
	shifts *shifts
	server int
}

func (w worker) Name() string { return w.name }

func (w worker) Run(ctx context.Context, config *rest.Config, ready func()) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{}); err != nil && ctx.Err() == nil {
		return err
	}
	w.shifts.mu.Lock()
	w.shifts.running[w.server] = true
	w.shifts.begun[w.server]++
	w.shifts.most = max(w.shifts.most, len(w.shifts.running))
	w.shifts.mu.Unlock()
	ready()
	<-ctx.Done()
	w.shifts.mu.Lock()
	delete(w.shifts.running, w.server)
	w.shifts.mu.Unlock()
	return nil
}

// leader waits until a control plane other than the given ones runs the component.
func (s *shifts) leader(t *testing.T, not ...int) int {
	t.Helper()
	leader := -1
	testwait.Until(t, "a leader", func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for server := range s.running {
			leader = server
			if slices.Contains(not, server) {
				return fmt.Errorf("%d still runs", server)
			}
			return nil
		}
		return errors.New("none")
	})
	return leader
}

// share starts control planes over one etcd, the first before the others, for its PKI.
func share(t *testing.T, e *etcdtest.Etcd, count int, modify func(int, *controlplane.Config)) (servers []*controlplane.Server) {
	t.Helper()
	var pki []byte
	for i := range count {
		cfg := controlplane.Config{Etcd: controlplane.Etcd{Endpoints: []string{e.Endpoint()}}, PKI: pki}
		modify(i, &cfg)
		servers = append(servers, start(t, cfg))
		var err error
		if pki, err = servers[0].PKI(); err != nil {
			t.Fatal(err)
		}
	}
	return servers
}

// TestElection: elected work moves to another control plane when one is closed.
func TestElection(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	elected, unelected := newShifts(), newShifts()
	servers := share(t, e, 3, func(i int, c *controlplane.Config) {
		c.Components = []controlplane.Component{
			worker{"elected", elected, i},
			controlplane.WithoutLeaderElection(worker{"unelected", unelected, i}),
		}
	})
	closed := map[int]bool{}
	var gone []int
	for len(gone) < 2 {
		leader := elected.leader(t, gone...)
		for i, server := range servers {
			if closed[i] {
				continue
			}
			// Written through one control plane, handled by the controllers of the
			// elected one.
			name := fmt.Sprintf("ns-%d-%d", len(gone), i)
			if _, err := admin(t, server).CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			for j, other := range servers {
				if !closed[j] {
					testwait.Until(t, "the service account of a new namespace", func(context.Context) error {
						_, err := admin(t, other).CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
						return err
					})
				}
			}
		}
		begin := time.Now()
		closeServer(t, servers[leader])
		closed[leader] = true
		gone = append(gone, leader)
		next := elected.leader(t, gone...)
		t.Logf("closed %d: %d took over %v after the beginning of Close", leader, next, time.Since(begin))
	}
	if elected.most != 1 {
		t.Errorf("elected at once: got %d, want 1", elected.most)
	}
	if unelected.most != 3 {
		t.Errorf("the component without leader election ran in %d, want 3", unelected.most)
	}
	for i, count := range elected.begun {
		if count != 1 {
			t.Errorf("elections of %d: got %d, want 1", i, count)
		}
	}
}

// TestElectionWithoutEtcd: a component that cannot renew its Lease stops, the control
// plane continues, and both resume when etcd is available again.
func TestElectionWithoutEtcd(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	shifts := newShifts()
	servers := share(t, e, 2, func(i int, c *controlplane.Config) {
		c.Components = []controlplane.Component{worker{"elected", shifts, i}}
	})
	shifts.leader(t)
	e.Stop()
	begin := time.Now()
	testwait.Until(t, "no leader", func(context.Context) error {
		shifts.mu.Lock()
		defer shifts.mu.Unlock()
		if len(shifts.running) > 0 {
			return errors.New("still runs")
		}
		return nil
	})
	t.Logf("ended %v after etcd had gone", time.Since(begin))
	for _, server := range servers {
		response, err := rest.HTTPClientFor(server.ClientConfig())
		if err != nil {
			t.Fatal(err)
		}
		testwait.Until(t, "a red check", func(context.Context) error {
			answer, err := response.Get(server.URL() + "/readyz?verbose")
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				return err
			}
			if answer.StatusCode == http.StatusOK || !strings.Contains(string(body), "[-]etcd-readiness") {
				return fmt.Errorf("HTTP %d: %s", answer.StatusCode, body)
			}
			return nil
		})
		select {
		case <-server.Done():
			t.Fatalf("the control plane has ended: %v", server.Err())
		default:
		}
	}
	e.Restart(t)
	begin = time.Now()
	shifts.leader(t)
	t.Logf("runs again %v after etcd was back", time.Since(begin))
	for i, server := range servers {
		name := fmt.Sprintf("after-%d", i)
		client := admin(t, server)
		testwait.Until(t, "a write", func(context.Context) error {
			_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			return err
		})
		testwait.Until(t, "the controllers", func(context.Context) error {
			_, err := client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
			return err
		})
		if err := client.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		testwait.Until(t, "a namespace that goes", func(context.Context) error {
			_, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
			if err == nil {
				return errors.New("still there")
			}
			return nil
		})
	}
	if shifts.most != 1 {
		t.Errorf("elected at once: got %d, want 1", shifts.most)
	}
}

// TestServingRequestForAnotherServer: no control plane signs a serving certificate with
// which a node could impersonate an API server.
func TestServingRequestForAnotherServer(t *testing.T) {
	t.Parallel()
	servers := share(t, etcdtest.Start(t), 2, func(i int, c *controlplane.Config) {
		c.BindAddress, c.AdvertiseAddress = "0.0.0.0:0", fmt.Sprintf("192.0.2.%d", 10+i)
	})
	testwait.Until(t, "both are endpoints", func(context.Context) error {
		endpoints, err := admin(t, servers[0]).DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err != nil || len(endpoints.Endpoints) != len(servers) {
			return fmt.Errorf("%d: %v", len(endpoints.Endpoints), err)
		}
		return nil
	})
	kubelet := asNode(t, servers[0], "n1")
	register(t, kubelet, "n1", address(corev1.NodeInternalIP, "192.0.2.10"), address(corev1.NodeInternalIP, "192.0.2.11"))
	for _, ip := range []string{"192.0.2.10", "192.0.2.11"} {
		request := servingCSR("n1")
		request.IPAddresses = append(request.IPAddresses, net.ParseIP(ip))
		wantDenied(t, admin(t, servers[0]), request.create(t, kubelet), "NodeServingRequestDenied", "kubectl label node n1")
	}
}

// TestKilledLeader: another process replaces a killed leader.
func TestKilledLeader(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	pki := t.TempDir() + "/pki"
	first := startProcess(t, "share", e.Endpoint(), pki)
	if line := first.readLine(t); line != "elected" {
		t.Fatal(line)
	}
	bundle, err := os.ReadFile(pki)
	if err != nil {
		t.Fatal(err)
	}
	shifts := newShifts()
	server := start(t, controlplane.Config{
		Etcd: controlplane.Etcd{Endpoints: []string{e.Endpoint()}}, PKI: bundle,
		Components: []controlplane.Component{worker{"elected", shifts, 0}},
	})
	shifts.mu.Lock()
	if len(shifts.running) > 0 {
		t.Errorf("running shifts: got %d, want 0 while the other process leads", len(shifts.running))
	}
	shifts.mu.Unlock()
	begin := time.Now()
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	shifts.leader(t)
	t.Logf("took over %v after the kill", time.Since(begin))
	testwait.Until(t, "the Lease of the core controllers", func(context.Context) error {
		lease, err := admin(t, server).CoordinationV1().Leases("kube-system").Get(t.Context(), "kubembed-controllers", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return heldBy(lease, t, server)
	})
}

// heldBy compares with the Lease of the component that the server runs.
func heldBy(lease *coordinationv1.Lease, t *testing.T, server *controlplane.Server) error {
	own, err := admin(t, server).CoordinationV1().Leases("kube-system").Get(t.Context(), "kubembed-component-elected", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if *own.Spec.HolderIdentity != *lease.Spec.HolderIdentity {
		return fmt.Errorf("the holder is %s", *lease.Spec.HolderIdentity)
	}
	return nil
}

// shareMain runs a control plane on the given etcd, writes its PKI to the given file, and
// reports its election.
func shareMain(args []string) error {
	ctx := context.Background()
	shifts := newShifts()
	server, err := controlplane.Start(ctx, controlplane.Config{
		Etcd:       controlplane.Etcd{Endpoints: args[:1]},
		Components: []controlplane.Component{worker{"elected", shifts, 0}},
	})
	if err != nil {
		return err
	}
	pki, err := server.PKI()
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[1], pki, 0o600); err != nil {
		return err
	}
	if err := lifecycle.Poll(ctx, func() bool {
		shifts.mu.Lock()
		defer shifts.mu.Unlock()
		return len(shifts.running) > 0
	}); err != nil {
		return err
	}
	fmt.Println("elected")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}

// TestPrefix: a control plane uses only its own prefix, also where it reads etcd
// directly.
func TestPrefix(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	client := e.Client(t)
	foreign := []string{"/registry/namespaces/other", "/elsewhere2/x", "compact_rev_key2"}
	for _, key := range foreign {
		if _, err := client.Put(t.Context(), key, "x"); err != nil {
			t.Fatal(err)
		}
	}
	server := start(t, controlplane.Config{Etcd: controlplane.Etcd{Endpoints: []string{e.Endpoint()}, Prefix: "/elsewhere"}})
	checkpoint, err := server.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	createPod(t, admin(t, server), "pod")
	if err := checkpoint.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := podNames(t, admin(t, server)); len(names) > 0 {
		t.Errorf("pods after the restore: got %v, want none", names)
	}
	for _, key := range foreign {
		if got, err := client.Get(t.Context(), key, clientv3.WithCountOnly()); err != nil || got.Count != 1 {
			t.Errorf("keys at %s: got %v, %v, want 1", key, got, err)
		}
	}
}

// TestOlderThanWhatIsStored: an older release is refused, with DataDir too.
func TestOlderThanWhatIsStored(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	if _, err := e.Client(t).Put(t.Context(), "/registry/kubembed/version", `{"kubernetes":"v1.99.0"}`); err != nil {
		t.Fatal(err)
	}
	_, err := controlplane.Start(t.Context(), controlplane.Config{Etcd: controlplane.Etcd{Endpoints: []string{e.Endpoint()}}})
	if !errors.Is(err, apiserver.ErrVersionSkew) || lacks(err.Error(), "/registry", "v1.99.0", "v1.98 or newer") != "" {
		t.Errorf("Start: got %v, want ErrVersionSkew that names the prefix and both releases", err)
	}
}

// TestElectionWithoutLeases: the start fails, because there could be no election.
func TestElectionWithoutLeases(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t)
	_, err := controlplane.Start(t.Context(), controlplane.Config{
		Etcd:          controlplane.Etcd{Endpoints: []string{e.Endpoint()}},
		RuntimeConfig: map[string]string{"coordination.k8s.io/v1": "false"},
	})
	if err == nil || !strings.Contains(err.Error(), "Config.RuntimeConfig") {
		t.Errorf("Start: got %v, want an error of Config.RuntimeConfig", err)
	}
}
