// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// server serves the kubelet API of all nodes at one address and port.
type server struct {
	*session
	listener     net.Listener
	address      netip.AddrPort
	http         *http.Server
	handlers     lifecycle.Group
	certificates *certificates
}

// listen listens on Config.Address, before the nodes register with the port.
func listen(s *session) (*server, error) {
	clients := x509.NewCertPool()
	config := rest.CopyConfig(s.rest)
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("hollownode: CA of the control plane: %w", err)
	}
	clients.AppendCertsFromPEM(config.CAData)
	listener, err := net.Listen("tcp", s.config.Address)
	if err != nil {
		return nil, fmt.Errorf("hollownode: Config.Address: %w: choose an address of this machine, and port 0 for a free one", err)
	}
	srv := &server{session: s, listener: listener, address: netip.MustParseAddrPort(listener.Addr().String())}
	if srv.certificates, err = newCertificates(srv); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("hollownode: serving certificate: %w", err)
	}
	errorLog, err := zap.NewStdLogAt(s.logger, zap.DebugLevel)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("hollownode: Config.Logger: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", srv.serveLogs)
	for _, path := range []string{"exec", "attach", "run", "portForward"} {
		mux.HandleFunc("/"+path+"/", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, path+" is not simulated: the pod is on a hollow node", http.StatusNotImplemented)
		})
	}
	srv.http = &http.Server{
		Handler:           srv.authorize(mux),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          errorLog,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: srv.certificates.get,
			// Kubelets serve their API only to authenticated clients.
			ClientAuth: tls.RequireAndVerifyClientCert,
			ClientCAs:  clients,
		},
	}
	return srv, nil
}

// serve serves until ctx ends, and returns when all handlers have returned.
func (srv *server) serve(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = srv.http.Close() })()
	srv.http.BaseContext = func(net.Listener) context.Context { return ctx }
	err := srv.http.ServeTLS(srv.listener, "", "")
	if ctx.Err() == nil || !errors.Is(err, http.ErrServerClosed) {
		srv.fail(failure{fmt.Errorf("serving logs: %w", err)})
	}
	_ = srv.http.Close()
	_ = srv.handlers.Wait(context.Background()) // their contexts have ended
}

// authorize serves a request if its user may access nodes/proxy, as kubelets do.
func (srv *server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end, ok := srv.handlers.Begin()
		if !ok {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		defer end()
		if r.URL.Path == "/healthz" {
			next.ServeHTTP(w, r)
			return
		}
		user := r.TLS.PeerCertificates[0].Subject
		review, err := srv.client.AuthorizationV1().SubjectAccessReviews().Create(r.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: user.CommonName, Groups: append(user.Organization, "system:authenticated"),
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: verb(r.Method), Version: "v1", Resource: "nodes", Subresource: "proxy", Name: srv.nodeOf(r),
				},
			},
		}, metav1.CreateOptions{})
		switch {
		case err != nil:
			http.Error(w, "authorization: "+err.Error(), http.StatusInternalServerError)
		case !review.Status.Allowed:
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource=proxy)", user.CommonName, verb(r.Method)), http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// nodeOf returns the node of a request. All nodes share an address, so the node follows
// from the pod.
func (srv *server) nodeOf(r *http.Request) string {
	if parts := strings.Split(r.URL.Path, "/"); len(parts) > 3 {
		if p, ok := srv.pods.get(types.NamespacedName{Namespace: parts[2], Name: parts[3]}); ok {
			return p.object.Spec.NodeName
		}
	}
	return srv.names[0]
}

// verb returns the verb of the kubelet for an HTTP method.
func verb(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	default:
		return "get"
	}
}

// livePod returns the pod of a request, unless its node is killed.
func (srv *server) livePod(w http.ResponseWriter, r *http.Request) (pod, bool) {
	name := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("pod")}
	p, ok := srv.pods.get(name)
	switch {
	case !ok:
		http.Error(w, fmt.Sprintf("pod %q does not exist", name.Name), http.StatusNotFound)
		return p, false
	case srv.isDead(p.object.Spec.NodeName):
		http.Error(w, fmt.Sprintf("node %s has been killed", p.object.Spec.NodeName), http.StatusServiceUnavailable)
		return p, false
	}
	return p, true
}

// statusOf finds the status of a container of any kind.
func statusOf(object *corev1.Pod, container string) (corev1.ContainerStatus, bool) {
	for _, list := range [][]corev1.ContainerStatus{
		object.Status.ContainerStatuses, object.Status.InitContainerStatuses, object.Status.EphemeralContainerStatuses,
	} {
		for _, cs := range list {
			if cs.Name == container {
				return cs, true
			}
		}
	}
	return corev1.ContainerStatus{}, false
}
