// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestStartAudit: the audit log has only requests of the server to itself that
// kube-apiserver's has too, all with the server's name.
func TestStartAudit(t *testing.T) {
	upstream := map[string]bool{}
	for _, line := range goldenLines(t, "start-audit") {
		upstream[line] = true
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.log")
	p, err := newPlane(dir, func(c *apiserver.Config) { c.Audit.Log.Path = log })
	if err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	file := must(os.Open(log))(t)
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	own := 0
	for lines.Scan() {
		var event auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if event.User.Username != user.APIServerUser {
			t.Errorf("got a request by %s for %s %s, want only the server's own user", event.User.Username, event.Verb, event.RequestURI)
			continue
		}
		own++
		request := event.Verb + " " + strings.SplitN(event.RequestURI, "?", 2)[0]
		if o := event.ObjectRef; o != nil && o.Resource != "" {
			request = event.Verb + " " + strings.Trim(o.APIGroup+"/"+o.Resource+"/"+o.Subresource, "/")
		}
		if !upstream[request] || strings.Contains(event.RequestURI, "dryRun") {
			t.Errorf("got request %s (%s), which kube-apiserver does not make", request, event.RequestURI)
		}
		if !strings.HasPrefix(event.UserAgent, "kube-apiserver/v1.") {
			t.Errorf("%s: got User-Agent %q, want kube-apiserver", request, event.UserAgent)
		}
	}
	if err := lines.Err(); err != nil || own == 0 {
		t.Errorf("got %d requests, error %v, want some", own, err)
	}
}
