// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestCloseLeavesNothing stops a control plane in use.
func TestCloseLeavesNothing(t *testing.T) {
	goroutines, temp := goleak.IgnoreCurrent(), ownTemp(t)
	server := start(t, controlplane.Config{InsecureAddr: "127.0.0.1:0"})
	secure, insecure := hostPort(t, server.URL()), hostPort(t, server.InsecureURL())
	inProcess, network := admin(t, server), overTLS(t, server, "admin", "system:masters")
	createPod(t, inProcess, "first")
	createPod(t, network, "second")
	if len(entries(t, temp)) != 1 {
		t.Fatalf("temporary directories of a running control plane: got %v, want one", entries(t, temp))
	}
	select {
	case <-server.Done():
		t.Fatal("Done is closed while the control plane runs")
	default:
	}

	closeServer(t, server)
	select {
	case <-server.Done():
	default:
		t.Error("Done is not closed after Close")
	}
	if err := server.Err(); err != nil {
		t.Errorf("Err after Close: %v", err)
	}
	if left := entries(t, temp); len(left) != 0 {
		t.Errorf("left behind: got %v, want nothing", left)
	}
	for _, address := range []string{secure, insecure} {
		wantFree(t, address)
	}
	// An error at once: client-go repeats a GET ten times, a second apart, if its
	// connection was cut.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := inProcess.CoreV1().Pods("default").Get(ctx, "first", metav1.GetOptions{})
	if !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("get of the in-process client after Close: got %v, want http.ErrServerClosed", err)
	}
	if _, err := network.CoreV1().Pods("default").Create(ctx, newPod("late"), metav1.CreateOptions{}); err == nil || ctx.Err() != nil {
		t.Errorf("create over TLS after Close: got %v, want an error before the deadline", err)
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsWatches(t *testing.T) {
	const watches = 100
	goroutines := goleak.IgnoreCurrent()
	server := start(t, controlplane.Config{})
	var all []watch.Interface
	for i := range watches {
		client := admin(t, server)
		if i%2 == 0 {
			client = overTLS(t, server, fmt.Sprint("user-", i), "system:masters")
		}
		w, err := client.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	createPod(t, admin(t, server), "seen")
	for i, w := range all {
		if e, ok := <-w.ResultChan(); !ok || e.Type != watch.Added {
			t.Errorf("watch %d before Close: got %+v, want ADDED", i, e)
		}
	}
	closeServer(t, server)
	for i, w := range all {
		// The watch ends, or the test times out. Reflectors relist after an error event.
		for e := range w.ResultChan() {
			t.Errorf("watch %d: got %+v, want its end", i, e)
		}
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
}

func TestStopAgainAndAtOnce(t *testing.T) {
	server := start(t, controlplane.Config{})
	var stops sync.WaitGroup
	for range 4 {
		stops.Go(func() {
			if err := server.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			select {
			case <-server.Done():
			default:
				t.Error("Close returned before the end")
			}
		})
		stops.Go(func() {
			if err := server.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
	stops.Wait()
	closeServer(t, server)
	if err := server.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown after Close: %v", err)
	}
	if err := server.Err(); err != nil {
		t.Errorf("Err: %v", err)
	}
}

// TestShutdownLetsRequestsFinish sends half a request, stops the server, and
// sends the other half.
func TestShutdownLetsRequestsFinish(t *testing.T) {
	server := start(t, controlplane.Config{InsecureAddr: "127.0.0.1:0", AdvertiseAddress: "192.0.2.10"})
	request := halfRequest(t, server)
	left := leaves(t, admin(t, server))
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(context.Background()) }()
	<-left // The stop has begun.
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown: got its end with %v, want it to wait for the request", err)
	default:
	}
	if response, err := request.finish(); err != nil || response.StatusCode != http.StatusCreated {
		t.Errorf("the request in flight: got %+v, %v, want 201", response, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownStopsWaitingWithItsContext(t *testing.T) {
	server := start(t, controlplane.Config{InsecureAddr: "127.0.0.1:0", AdvertiseAddress: "192.0.2.10"})
	request := halfRequest(t, server)
	left := leaves(t, admin(t, server))
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(ctx) }()
	<-left
	cancel()
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if response, err := request.finish(); err == nil && response.StatusCode == http.StatusCreated {
		t.Errorf("the request in flight: got %+v, want it cut off", response)
	}
}

func TestCloseCutsRequests(t *testing.T) {
	goroutines := goleak.IgnoreCurrent()
	server := start(t, controlplane.Config{InsecureAddr: "127.0.0.1:0"})
	request := halfRequest(t, server)
	closeServer(t, server)
	if response, err := request.finish(); err == nil && response.StatusCode == http.StatusCreated {
		t.Errorf("the request in flight: got %+v, want it cut off", response)
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
}

func TestRunUntilItsContextEnds(t *testing.T) {
	goroutines, temp := goleak.IgnoreCurrent(), ownTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	logger, address := insecureAddress()
	go func() {
		ended <- controlplane.Run(ctx, controlplane.Config{InsecureAddr: "127.0.0.1:0", Logger: logger})
	}()
	select {
	case address := <-address:
		// Answered once the control plane serves.
		createPod(t, clientFor(t, &rest.Config{Host: "http://" + address}), "first")
	case err := <-ended:
		t.Fatalf("Run: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if left := entries(t, temp); len(left) != 0 {
		t.Errorf("left behind: got %v, want nothing", left)
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
}

func TestRunSaysWhyItDidNotStart(t *testing.T) {
	err := controlplane.Run(t.Context(), controlplane.Config{BindAddress: "192.0.2.1:0"})
	if err == nil || !strings.Contains(err.Error(), "BindAddress") {
		t.Errorf("Run: got %v, want an error of BindAddress", err)
	}
}

// insecureAddress returns a logger, and a channel for the logged address of plain HTTP.
func insecureAddress() (*zap.Logger, <-chan string) {
	core, logs := observer.New(zap.WarnLevel)
	address := make(chan string, 1)
	return zap.New(core, zap.Hooks(func(zapcore.Entry) error {
		for _, entry := range logs.TakeAll() {
			if value, ok := entry.ContextMap()["address"]; ok {
				address <- fmt.Sprint(value)
			}
		}
		return nil
	})), address
}

// unfinished is a half-sent request to create a ConfigMap.
type unfinished struct {
	conn   net.Conn
	reader *bufio.Reader
	rest   string
}

func halfRequest(t *testing.T, server *controlplane.Server) *unfinished {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", hostPort(t, server.InsecureURL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	const first, rest = `{"apiVersion":"v1","kind":"ConfigMap",`, `"metadata":{"name":"slow"}}`
	_, err = fmt.Fprintf(conn, "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: localhost\r\n"+
		"Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(first+rest))
	if err != nil {
		t.Fatal(err)
	}
	// The answer comes when the handler reads the body.
	r := &unfinished{conn: conn, reader: bufio.NewReader(conn), rest: rest}
	response, err := http.ReadResponse(r.reader, nil)
	if err != nil || response.StatusCode != http.StatusContinue {
		t.Fatalf("the server does not want the body: %+v, %v", response, err)
	}
	if _, err := io.WriteString(conn, first); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *unfinished) finish() (*http.Response, error) {
	if _, err := io.WriteString(r.conn, r.rest); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(r.reader, nil)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	return response, nil
}

// leaves is closed when the server has removed itself from the kubernetes Service, the
// first step of a stop.
func leaves(t *testing.T, client *kubernetes.Clientset) <-chan struct{} {
	t.Helper()
	waitAdvertised(t, client, "192.0.2.10")
	w, err := client.DiscoveryV1().EndpointSlices("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=kubernetes"})
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		for e := range w.ResultChan() {
			if slice, ok := e.Object.(*discoveryv1.EndpointSlice); ok && (e.Type == watch.Deleted || len(slice.Endpoints) == 0) {
				return
			}
		}
		t.Error("the server did not leave the kubernetes Service")
	}()
	return left
}

// wantFree checks that the address of a control plane is free again.
func wantFree(t *testing.T, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Errorf("the address is not free: %v", err)
		return
	}
	_ = listener.Close()
}
