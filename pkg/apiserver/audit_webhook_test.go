// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// webhookKubeconfig writes the kubeconfig of a client with a token for a TLS server.
func webhookKubeconfig(t testing.TB, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(enterableDir(t), "webhook.kubeconfig")
	config := clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"webhook": {
			Server: server.URL + "/audit", CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"server": {Token: "secret"}},
		Contexts:       map[string]*clientcmdapi.Context{"webhook": {Cluster: "webhook", AuthInfo: "server"}},
		CurrentContext: "webhook",
	}
	if err := clientcmd.WriteToFile(config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestAuditWebhook: batches of audit.k8s.io/v1 events come over TLS, with the credentials
// of the kubeconfig. The last ones come when the server stops. The first try fails.
func TestAuditWebhook(t *testing.T) {
	var sink recorder
	var calls atomic.Int64
	server := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil || r.URL.Path != "/audit" || r.Header.Get("Authorization") != "Bearer secret" || list.APIVersion != "audit.k8s.io/v1" {
			t.Errorf("got a strange request: %v %v %v %q", r.URL, r.Header, err, list.APIVersion)
		}
		_ = sink.Events(r.Context(), list.Items)
	})
	p, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
		c.Audit.Policy = createsOfConfigMaps()
		c.Audit.Webhook = apiserver.AuditWebhook{KubeconfigFile: webhookKubeconfig(t, server), InitialBackoff: time.Millisecond, Delivery: apiserver.AuditDelivery{MaxBatchSize: 2, MaxBatchWait: time.Hour}}
	})
	if err != nil {
		t.Fatal(err)
	}
	create := func(names ...string) {
		for _, name := range names {
			if err := p.configMap(t, name); err != nil {
				t.Error(err)
			}
		}
	}
	create("one", "two")
	testwait.True(t, "the webhook has the first batch", func() bool { return len(sink.names()) == 2 })
	create("three")
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(sink.names(), " "); got != "one two three" {
		t.Errorf("the webhook has got %q, want all three ConfigMaps", got)
	}
	if calls := calls.Load(); calls != 3 {
		t.Errorf("the webhook was called %d times, want 3: a failure, its retry, and the rest", calls)
	}
}

// TestAuditWebhookModes: in mode blocking-strict requests fail if the webhook does, in
// mode blocking they do not.
func TestAuditWebhookModes(t *testing.T) {
	var calls atomic.Int64
	server := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		http.Error(w, "no", http.StatusForbidden)
	})
	kubeconfig := webhookKubeconfig(t, server)
	for mode, fails := range map[string]bool{apiserver.AuditBlockingStrict: true, apiserver.AuditBlocking: false} {
		t.Run(mode, func(t *testing.T) {
			p := startPlane(t, func(c *apiserver.Config) {
				policy := createsOfConfigMaps()
				policy.OmitStages = nil
				c.Audit.Policy = policy
				c.Audit.Webhook = apiserver.AuditWebhook{KubeconfigFile: kubeconfig, InitialBackoff: time.Millisecond, Delivery: apiserver.AuditDelivery{Mode: mode}}
			})
			before := calls.Load()
			err := p.configMap(t, "audited")
			if fails && !contains(err, "audit") || !fails && err != nil {
				t.Errorf("got error %v, want one of the audit: %v", err, fails)
			}
			if calls.Load() == before {
				t.Error("the webhook was not called")
			}
		})
	}
}

// TestStopWithAnUnreachableAuditWebhook: upstream retries for minutes. The stop does not
// wait for that, and says that events are lost. Goroutines end, or TestMain finds them.
func TestStopWithAnUnreachableAuditWebhook(t *testing.T) {
	for _, hangs := range []bool{true, false} {
		core, logs := observer.New(zapcore.WarnLevel)
		entered, hold := make(chan struct{}, 100), make(chan struct{})
		server := tlsServer(t, func(http.ResponseWriter, *http.Request) {
			entered <- struct{}{}
			<-hold
		})
		backoff := time.Millisecond
		if !hangs {
			server.CloseClientConnections()
			server.Listener.Close()
			backoff = 2 * time.Second
		}
		p, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
			c.Logger = zap.New(core)
			c.Audit.Policy = createsOfConfigMaps()
			c.Audit.Webhook = apiserver.AuditWebhook{KubeconfigFile: webhookKubeconfig(t, server), InitialBackoff: backoff, Delivery: apiserver.AuditDelivery{MaxBatchWait: time.Millisecond}}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.configMap(t, "lost"); err != nil {
			t.Error(err)
		}
		if hangs {
			<-entered
		}
		if err := p.close(); err != nil {
			t.Errorf("got error %v of the stop, want none", err)
		}
		close(hold)
		if lost := logs.FilterMessageSnippet("the audit webhook has not taken the last events").Len(); lost != 1 && !hangs {
			t.Errorf("the log has %d lines about lost events, want 1", lost)
		}
	}
}

// TestBadAuditWebhooks: a kubeconfig that is missing, is none, or whose token every user
// can read is refused with the name of the field.
func TestBadAuditWebhooks(t *testing.T) {
	readable := webhookKubeconfig(t, tlsServer(t, func(http.ResponseWriter, *http.Request) {}))
	if err := os.Chmod(readable, 0o644); err != nil { //nolint:gosec // the test is about it
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(t.TempDir(), "missing"): "no such file",
		empty:                                 "is no usable kubeconfig",
		readable:                              "chmod o-r",
	} {
		_, err := newPlane(t.TempDir(), func(c *apiserver.Config) { c.Audit.Webhook.KubeconfigFile = file })
		if !contains(err, "Audit.Webhook.KubeconfigFile: ") || !contains(err, want) {
			t.Errorf("got error %v, want one about Audit.Webhook.KubeconfigFile with %q", err, want)
		}
	}
}
