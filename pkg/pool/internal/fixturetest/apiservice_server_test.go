// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

// Flunder is the kind of an aggregated API. Its objects are created for each request,
// and have the user of the request.
type Flunder struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	User   string   `json:"user"`
	Groups []string `json:"groups"`
}

func flunderPath(group string) string { return fmt.Sprintf("/apis/%s/v1/flunders/", group) }

// runFlunderServer runs an aggregated API server until the end of the test. It
// authenticates through the front proxy, whose CA it reads from the control plane, and
// authorizes through the control plane, as the library k8s.io/apiserver does.
func runFlunderServer(t testing.TB, cp *controlplanetest.ControlPlane, group string, at *controlplanetest.AggregatedServer) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	proxy, err := client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cas := x509.NewCertPool()
	if !cas.AppendCertsFromPEM([]byte(proxy.Data["requestheader-client-ca-file"])) {
		t.Fatalf("no CA of the front proxy in %v", proxy.Data)
	}
	handler := flunderHandler(group)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, ClientCAs: cas, ClientAuth: tls.RequireAndVerifyClientCert},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name, found := strings.CutPrefix(r.URL.Path, flunderPath(group))
			if !found {
				handler.ServeHTTP(w, r)
				return
			}
			user, groups := r.Header.Get("X-Remote-User"), r.Header.Values("X-Remote-Group")
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: user, Groups: groups,
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Group: group, Version: "v1", Resource: "flunders", Name: name},
			}}
			answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(r.Context(), review, metav1.CreateOptions{})
			status := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure}
			switch {
			case err != nil:
				status.Code, status.Reason, status.Message = http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error()
			case !answer.Status.Allowed:
				status.Code, status.Reason = http.StatusForbidden, metav1.StatusReasonForbidden
			case name == "none":
				status.Code, status.Reason, status.Message = http.StatusNotFound, metav1.StatusReasonNotFound, "no flunder of "+group
			default:
				_ = json.NewEncoder(w).Encode(Flunder{
					TypeMeta:   metav1.TypeMeta{Kind: "Flunder", APIVersion: group + "/v1"},
					ObjectMeta: metav1.ObjectMeta{Name: name}, User: user, Groups: groups,
				})
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(int(status.Code))
			_ = json.NewEncoder(w).Encode(status)
		}),
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(at.Host, fmt.Sprint(at.Port)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- server.ServeTLS(listener, filepath.Join(at.CertDir, "tls.crt"), filepath.Join(at.CertDir, "tls.key"))
	}()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
}
