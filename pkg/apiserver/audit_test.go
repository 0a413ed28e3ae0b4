// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// audited runs a plane, creates one Secret, stops the plane, and returns the audit events
// of the create.
func audited(t *testing.T, policy string) []auditv1.Event {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.log")
	p, err := newPlane(dir, func(c *apiserver.Config) {
		c.Audit.Log.Path = log
		if policy != "" {
			c.Audit.PolicyFile = filepath.Join(dir, "policy.yaml")
			if err := os.WriteFile(c.Audit.PolicyFile, []byte(policy), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = clientset(t, p.as(t, "jane", "system:masters")).CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "audited"}, StringData: map[string]string{"key": "confidential"},
	}, metav1.CreateOptions{})
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := must(os.Open(log))(t)
	defer file.Close()
	var events []auditv1.Event
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if event.User.Username == "jane" && event.Verb == "create" {
			events = append(events, event)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

func TestAuditLog(t *testing.T) {
	events := audited(t, "")
	if len(events) != 1 {
		t.Fatalf("got %d events, want 1: %+v", len(events), events)
	}
	e := events[0]
	if e.User.Username != "jane" || !slices.Contains(e.User.Groups, "system:masters") || e.ObjectRef.Resource != "secrets" || e.ObjectRef.Namespace != "default" ||
		e.Level != auditv1.LevelMetadata || e.Stage != auditv1.StageResponseComplete || e.ResponseStatus.Code != 201 || len(e.SourceIPs) != 1 {
		t.Errorf("got event %+v, want a create of a Secret by jane at level Metadata", e)
	}
	if e.RequestObject != nil || e.ResponseObject != nil {
		t.Error("got the content of the Secret in the audit log, want metadata only")
	}
}

func TestAuditPolicyFile(t *testing.T) {
	events := audited(t, `
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Request
  users: [jane]
- level: None
`)
	var stages []string
	for _, e := range events {
		stages = append(stages, string(e.Stage))
	}
	if !slices.Equal(stages, []string{"RequestReceived", "ResponseComplete"}) {
		t.Fatalf("got stages %q, want RequestReceived and ResponseComplete", stages)
	}
	if e := events[1]; e.Level != auditv1.LevelRequest || e.RequestObject == nil || e.ResponseObject != nil {
		t.Errorf("got event %+v, want level Request with the request object", e)
	}
	if events := audited(t, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n"); len(events) != 0 {
		t.Errorf("got events %+v at level None, want none", events)
	}
}

// TestFailedNewWithAudit: a New that fails with an audit in its Config closes the
// listener, and leaves no goroutine, which TestMain would find.
func TestFailedNewWithAudit(t *testing.T) {
	dir := t.TempDir()
	member := must(etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dir, "etcd"), Ephemeral: true}))(t)
	defer member.Close()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	_, err := apiserver.New(apiserver.Config{
		Listener: listener, Client: member.Client(), Dial: member.DialContext, PKI: must(pki.Open(pki.Config{}))(t), Dir: dir,
		Audit: apiserver.Audit{
			Log:   apiserver.AuditLog{Path: filepath.Join(dir, "audit.log"), MaxSizeMB: 1},
			Sinks: []apiserver.AuditSink{{Name: "never", Events: func(context.Context, []auditv1.Event) error { return nil }}},
		},
		Admission: apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{{Name: "fails", New: func() (admission.Interface, error) { return nil, errors.New("not now") }}}},
	})
	if !contains(err, "not now") {
		t.Fatalf("got error %v, want that of the plugin", err)
	}
	again, err := net.Listen("tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("got error %v, want a closed listener", err)
	}
	again.Close()
}

// TestAuditLogOptions: the log takes batches, truncates large events, and writes lines of
// text. The stop writes what waits in the buffer.
func TestAuditLogOptions(t *testing.T) {
	for format, want := range map[string]string{"legacy": "AUDIT: id=", "json": `"audit.k8s.io/truncated":"true"`} {
		dir := t.TempDir()
		log := filepath.Join(dir, "audit.log")
		p, err := newPlane(dir, func(c *apiserver.Config) {
			c.Audit = apiserver.Audit{
				Policy: createsOfConfigMaps(),
				Log: apiserver.AuditLog{
					Path: log, Format: format, MaxSizeMB: 1, MaxAgeDays: 1, Compress: true,
					Delivery: apiserver.AuditDelivery{Mode: apiserver.AuditBatch, MaxBatchSize: 100, MaxBatchWait: time.Hour, Truncate: true, MaxEventBytes: 1500},
				},
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.admin().CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "large"}, Data: map[string]string{"key": strings.Repeat("x", 2000)},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Error(err)
		}
		if content := must(os.ReadFile(log))(t); len(content) > 0 {
			t.Errorf("the log has %s, want nothing before the batch is full", content)
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
		content := string(must(os.ReadFile(log))(t))
		if !strings.Contains(content, want) || strings.Contains(content, "xxxx") || strings.Count(content, "\n") != 1 {
			t.Errorf("%s: the log has %s, want one line with %s and without the object", format, content, want)
		}
	}
}

// TestBadAudit: each error names the Go field.
func TestBadAudit(t *testing.T) {
	events := func(context.Context, []auditv1.Event) error { return nil }
	sink := apiserver.AuditSink{Name: "a", Events: events}
	kubeconfig := webhookKubeconfig(t, tlsServer(t, func(http.ResponseWriter, *http.Request) {}))
	writable := writeFile(t, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n", 0o666)
	misspelt := writeFile(t, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, resource: []}]\n", 0o600)
	illegal := writeFile(t, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Everything}]\n", 0o600)
	open := filepath.Dir(writeFile(t, "any", "", 0o600))
	if err := os.Chmod(open, 0o777); err != nil { //nolint:gosec // the test is about it
		t.Fatal(err)
	}
	for _, test := range []struct {
		audit apiserver.Audit
		want  string
	}{
		{apiserver.Audit{Policy: createsOfConfigMaps()}, "Audit.Log.Path: Required value: Audit.Policy is set but nothing"},
		{apiserver.Audit{PolicyFile: "policy.yaml"}, "Audit.Log.Path"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log"}, Policy: &auditv1.Policy{}}, "Audit.Policy: Invalid value: loaded illegal policy with 0 rules"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log"}, Policy: &auditv1.Policy{TypeMeta: metav1.TypeMeta{APIVersion: "audit.k8s.io/v1beta1"}, Rules: []auditv1.PolicyRule{{Level: auditv1.LevelNone}}}}, "Audit.Policy"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log"}, Policy: &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: "Everything"}}}}, "Everything"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log"}, Policy: createsOfConfigMaps(), PolicyFile: "policy.yaml"}, "Audit.Policy: Forbidden: Audit.PolicyFile is set too"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log"}, PolicyFile: "/nowhere/policy.yaml"}, `Audit.PolicyFile: Invalid value: "/nowhere/policy.yaml"`},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log"}, PolicyFile: writable}, "Audit.PolicyFile: Invalid value: \"" + writable + "\": " + writable + ": other users of this machine control it"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log"}, PolicyFile: misspelt}, `unknown field "rules[0].resource"`},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log"}, PolicyFile: illegal}, "Audit.PolicyFile: Invalid value: \"" + illegal + "\": rules[0].level: Unsupported value: \"Everything\""},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: filepath.Join(open, "log")}}, "Audit.Log.Path: Invalid value: "},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: t.TempDir()}}, "is a directory"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Format: "xml"}}, "Audit.Log.Format"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", MaxAgeDays: -1}}, "Audit.Log.MaxAgeDays"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Delivery: apiserver.AuditDelivery{Mode: "sometimes"}}}, "Audit.Log.Delivery.Mode"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Delivery: apiserver.AuditDelivery{BufferSize: -1}}}, "Audit.Log.Delivery.BufferSize"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Delivery: apiserver.AuditDelivery{Version: "audit.k8s.io/v2"}}}, "Audit.Log.Delivery.Version"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Delivery: apiserver.AuditDelivery{Truncate: true, MaxBatchBytes: 1000}}}, "Audit.Log.Delivery.MaxBatchBytes"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Delivery: apiserver.AuditDelivery{ThrottleQPS: -1}}}, "Audit.Log.Delivery.ThrottleQPS"},
		{apiserver.Audit{Log: apiserver.AuditLog{Delivery: apiserver.AuditDelivery{Mode: apiserver.AuditBatch}}}, "Audit.Log.Path"},
		{apiserver.Audit{Webhook: apiserver.AuditWebhook{KubeconfigFile: "/nowhere/kubeconfig"}}, "Audit.Webhook.KubeconfigFile: Invalid value: \"/nowhere/kubeconfig\""},
		{apiserver.Audit{Log: apiserver.AuditLog{MaxBackups: 1}}, "Audit.Log.Path: Required"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", MaxBackups: 1}}, "Audit.Log.MaxSizeMB: Required"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Compress: true}}, "Audit.Log.MaxSizeMB: Required"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Delivery: apiserver.AuditDelivery{MaxBatchSize: 1}}}, "Audit.Log.Delivery.MaxBatchSize: Forbidden: has no effect in mode blocking"},
		{apiserver.Audit{Log: apiserver.AuditLog{Path: "log", Delivery: apiserver.AuditDelivery{MaxEventBytes: 1}}}, "Audit.Log.Delivery.Truncate: Required"},
		{apiserver.Audit{Webhook: apiserver.AuditWebhook{KubeconfigFile: kubeconfig, Delivery: apiserver.AuditDelivery{Mode: apiserver.AuditBlocking, ThrottleQPS: 1}}}, "Audit.Webhook.Delivery.ThrottleQPS: Forbidden"},
		{apiserver.Audit{Webhook: apiserver.AuditWebhook{KubeconfigFile: kubeconfig, Unthrottled: true, Delivery: apiserver.AuditDelivery{Mode: apiserver.AuditBlocking}}}, "Audit.Webhook.Unthrottled: Forbidden"},
		{apiserver.Audit{Webhook: apiserver.AuditWebhook{InitialBackoff: time.Second}}, "Audit.Webhook.KubeconfigFile"},
		{apiserver.Audit{Webhook: apiserver.AuditWebhook{KubeconfigFile: kubeconfig, InitialBackoff: -1}}, "Audit.Webhook.InitialBackoff"},
		{apiserver.Audit{Webhook: apiserver.AuditWebhook{KubeconfigFile: kubeconfig, Unthrottled: true, Delivery: apiserver.AuditDelivery{ThrottleBurst: 1}}}, "Audit.Webhook.Unthrottled"},
		{apiserver.Audit{Sinks: []apiserver.AuditSink{{Events: events}}}, "Audit.Sinks[0].Name: Required"},
		{apiserver.Audit{Sinks: []apiserver.AuditSink{{Name: "a"}}}, "Audit.Sinks[0].Events: Required"},
		{apiserver.Audit{Sinks: []apiserver.AuditSink{sink, sink}}, `Audit.Sinks[1].Name: Duplicate value: "a"`},
		{apiserver.Audit{Sinks: []apiserver.AuditSink{{Name: "a", Events: events, BufferSize: -1}}}, "Audit.Sinks[0].BufferSize"},
	} {
		errs := access.ValidateOptional(apiserver.Config{Audit: test.audit})
		if len(errs) != 1 || !contains(errs.ToAggregate(), test.want) {
			t.Errorf("%+v: got errors %v, want one with %q", test.audit, errs, test.want)
		}
	}
}
