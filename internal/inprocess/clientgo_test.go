// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// TestClientGo uses the client that the library's users have.
func TestClientGo(t *testing.T) {
	events := make(chan watch.Event)
	watchEnded := make(chan struct{}, 2)
	configMap := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("Authorization %q", got)
		}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodPost:
			_, _ = io.Copy(w, r.Body)
		case r.URL.Query().Get("watch") != "":
			defer func() { watchEnded <- struct{}{} }()
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			for {
				select {
				case <-r.Context().Done():
					return
				case e, more := <-events:
					if !more {
						return
					}
					raw, _ := json.Marshal(e.Object)
					_ = json.NewEncoder(w).Encode(metav1.WatchEvent{Type: string(e.Type), Object: runtime.RawExtension{Raw: raw}})
					w.(http.Flusher).Flush()
				}
			}
		case r.URL.Path == "/api/v1/namespaces/default/configmaps/slow":
			<-r.Context().Done()
		default:
			_ = json.NewEncoder(w).Encode(configMap("one"))
		}
	})
	client := func(timeout time.Duration) *rest.RESTClient {
		c, err := rest.RESTClientFor(&rest.Config{
			Host: "https://in-process", Transport: tr, BearerToken: "secret", Timeout: timeout, APIPath: "/api",
			ContentConfig: rest.ContentConfig{GroupVersion: &corev1.SchemeGroupVersion, NegotiatedSerializer: scheme.Codecs.WithoutConversion()},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := client(0)
	on := func(r *rest.Request) *rest.Request { return r.Namespace("default").Resource("configmaps") }

	got := &corev1.ConfigMap{}
	if err := on(c.Get()).Name("one").Do(t.Context()).Into(got); err != nil || got.Name != "one" {
		t.Fatalf("get: %v, %v", got, err)
	}
	big := configMap("big")
	big.BinaryData = map[string][]byte{"x": large}
	if err := on(c.Post()).Body(big).Do(t.Context()).Into(got); err != nil || !bytes.Equal(got.BinaryData["x"], large) {
		t.Fatalf("create: %v", err)
	}

	open := func(ctx context.Context) watch.Interface {
		w, err := on(c.Get()).VersionedParams(&metav1.ListOptions{Watch: true}, scheme.ParameterCodec).Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := open(t.Context())
	for i := range 3 {
		events <- watch.Event{Type: watch.Added, Object: configMap(fmt.Sprint(i))}
		e := receive(w.ResultChan()) // before the next event is sent
		if cm, ok := e.Object.(*corev1.ConfigMap); e.Type != watch.Added || !ok || cm.Name != fmt.Sprint(i) {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
	w.Stop()
	receive(watchEnded) // the handler was told
	if e, more := <-w.ResultChan(); more {
		t.Errorf("event after Stop: %+v", e)
	}

	ctx, cancel := context.WithCancel(t.Context())
	w = open(ctx)
	cancel()
	receive(watchEnded)
	w.Stop()

	if err := on(client(10 * time.Millisecond).Get()).Name("slow").Do(t.Context()).Error(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("client's timeout: %v", err)
	}

	// A watch open at Shutdown ends like one whose connection is lost: no
	// error event, which an informer would take for an answer of the server.
	w = open(t.Context())
	if err := tr.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if e, more := <-w.ResultChan(); more {
		t.Errorf("event at Shutdown: %+v", e)
	}
	// And a request is refused once, not tried again ten times.
	if err := on(c.Get()).Name("one").Do(t.Context()).Error(); !errors.Is(err, ErrStopped) {
		t.Errorf("get after Shutdown: %v", err)
	}
}
