// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Host is a web service that stores its data in its own control plane: durable, with
// hourly snapshots, and integrated in the service's signals, logs and metrics.
//
//	go run ./examples/host -data data -backup backup
//	curl -X PUT -d 'buy milk' http://127.0.0.1:8000/notes/monday
//	curl http://127.0.0.1:8000/notes/monday
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func main() {
	var s service
	flag.StringVar(&s.listen, "listen", "127.0.0.1:8000", "serve HTTP on this `address`")
	flag.StringVar(&s.data, "data", "data", "keep the control plane in this `directory`")
	flag.StringVar(&s.backup, "backup", "backup", "write snapshots to this `directory`, best on another disk")
	flag.StringVar(&s.restore, "restore", "", "for one start: create a new -data from this snapshot `file`")
	flag.Parse()
	s.log = zap.Must(zap.NewProduction())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx); err != nil {
		s.log.Fatal("failed", zap.Error(err))
	}
	s.log.Info("stopped")
}

const prefix = "note-" // distinguishes notes from other ConfigMaps, like kube-root-ca.crt

type service struct {
	listen, data, backup, restore string // flags
	log                           *zap.Logger
	cp                            *controlplane.Server
	notes                         corev1client.ConfigMapInterface
}

// run serves until ctx ends or the control plane fails.
func (s *service) run(ctx context.Context) (err error) {
	listener, err := net.Listen("tcp", s.listen) // before anything is started or created
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	if s.restore != "" {
		if err := s.restoreFrom(ctx, s.restore); err != nil {
			return err
		}
	}
	s.cp, err = controlplane.Start(ctx, controlplane.Config{
		DataDir:   s.data,
		Snapshots: controlplane.Snapshots{Interval: time.Hour, Keep: 48, Dir: s.backup},
		Logger:    s.log.Named("controlplane"),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.cp.Err(), inTime(s.cp.Shutdown)) }() // after the web server
	s.notes = kubernetes.NewForConfigOrDie(s.cp.ClientConfig()).CoreV1().ConfigMaps(metav1.NamespaceDefault)
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.log.Info("listening", zap.Stringer("address", listener.Addr()))
	select {
	case <-ctx.Done():
	case <-s.cp.Done():
	case err := <-served:
		return err
	}
	return inTime(server.Shutdown)
}

// inTime gives requests in flight ten seconds to end.
func inTime(shutdown func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 10*time.Second, errors.New("requests were cut 10 s after the stop"))
	defer cancel()
	return errors.Join(shutdown(ctx), context.Cause(ctx))
}

func (s *service) restoreFrom(ctx context.Context, path string) error {
	snapshot, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = snapshot.Close() }() // only read
	return controlplane.Restore(ctx, s.data, snapshot, controlplane.RestoreConfig{Logger: s.log.Named("restore")})
}

// handler serves notes, snapshots, and the metrics of the service and the control plane.
func (s *service) handler() http.Handler {
	registry := prometheus.NewRegistry()
	saved := prometheus.NewCounter(prometheus.CounterOpts{Name: "notes_saved_total", Help: "Notes that were saved."})
	registry.MustRegister(saved)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{prometheus.DefaultGatherer, registry, s.cp.Metrics()}, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /notes/{name}", func(w http.ResponseWriter, r *http.Request) {
		note, err := s.notes.Get(r.Context(), prefix+r.PathValue("name"), metav1.GetOptions{})
		answer(w, err, func() string { return string(note.BinaryData["text"]) })
	})
	mux.HandleFunc("PUT /notes/{name}", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		if err == nil {
			note := corev1ac.ConfigMap(prefix+r.PathValue("name"), metav1.NamespaceDefault).WithBinaryData(map[string][]byte{"text": text})
			_, err = s.notes.Apply(r.Context(), note, metav1.ApplyOptions{FieldManager: "host", Force: true})
		}
		answer(w, err, func() string { saved.Inc(); return "saved\n" })
	})
	mux.HandleFunc("POST /snapshots", func(w http.ResponseWriter, r *http.Request) {
		snapshot, err := s.cp.TakeSnapshot(r.Context())
		answer(w, err, func() string { return snapshot.Path + "\n" })
	})
	return mux
}

// answer writes the text, or the error with its status.
func answer(w http.ResponseWriter, err error, text func() string) {
	switch status := apierrors.APIStatus(nil); {
	case err == nil:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8") // disables content sniffing
		fmt.Fprint(w, text())
	case errors.As(err, new(*http.MaxBytesError)):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case errors.As(err, &status):
		http.Error(w, err.Error(), int(status.Status().Code))
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
