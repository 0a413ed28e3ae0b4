// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

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
		c.Audit.LogPath = log
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

// TestBadAuditPolicy: the error of New names the problem, the listener is closed, and no
// goroutine remains, which TestMain would find.
func TestBadAuditPolicy(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Everything\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	member := must(etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dir, "etcd"), Ephemeral: true}))(t)
	defer member.Close()
	identities := must(pki.Open(pki.Config{}))(t)
	for policy, want := range map[string]string{bad: "Everything", filepath.Join(dir, "missing.yaml"): "missing.yaml"} {
		listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		_, err := apiserver.New(apiserver.Config{
			Listener: listener, Client: member.Client(), Dial: member.DialContext, PKI: identities, Dir: dir,
			Audit: apiserver.Audit{LogPath: filepath.Join(dir, "audit.log"), PolicyFile: policy},
		})
		if !contains(err, "Config.Audit") || !contains(err, want) {
			t.Errorf("%s: got error %v, want one that names Config.Audit and the problem", policy, err)
		}
		if strings.Contains(err.Error(), "--") {
			t.Errorf("got error %v, want none about a flag", err)
		}
		again, err := net.Listen("tcp", listener.Addr().String())
		if err != nil {
			t.Errorf("got error %v, want a closed listener", err)
			continue
		}
		again.Close()
	}
}
