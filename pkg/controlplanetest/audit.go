// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// AuditFilter selects requests of an audit trail. An empty field selects all.
type AuditFilter struct {
	// User is the name of the user, or of the impersonated user. The user of
	// ClientConfig is kubernetes-admin.
	User string
	// UserAgent is a prefix of the User-Agent header. Set rest.Config.UserAgent, which
	// by default begins with the name of the program.
	UserAgent string
	// Namespace is the namespace of the objects.
	Namespace string
	// Resource is the plural name of the resource, like "pods".
	Resource string
	// Verbs are API verbs: "create", "update", "patch", "delete", "deletecollection",
	// "get", "list", "watch".
	Verbs []string
}

// ownUsers are the users that the control plane itself acts as.
var ownUsers = []string{"system:apiserver", "system:kube-controller-manager"}

// AuditTrail returns the requests for objects that the API server has answered since
// the test began, in order, with user, verb, object and status. A watch is included
// once it has started. Requests of the control plane itself and of the fixture are left
// out. On a shared control plane the trail includes requests of parallel tests: filter
// by your own user agent or namespace. AuditTrail fails the test if Config.Audit is not
// set.
func (cp *ControlPlane) AuditTrail(t TB, filter AuditFilter) []AuditEvent {
	t.Helper()
	cp.requireLive(t)
	if cp.auditPath == "" {
		t.Fatalf("controlplanetest: AuditTrail: no audit log: set Config.Audit")
	}
	events, err := cp.auditEvents()
	if err != nil {
		t.Fatalf("controlplanetest: AuditTrail: %v", err)
	}
	return slices.DeleteFunc(events, func(event AuditEvent) bool { return !filter.chooses(&event) })
}

func (f AuditFilter) chooses(event *AuditEvent) bool {
	if event.ObjectRef == nil || event.UserAgent == userAgent || slices.Contains(ownUsers, event.User.Username) {
		return false
	}
	user := event.User.Username
	if event.ImpersonatedUser != nil {
		user = event.ImpersonatedUser.Username
	}
	return (f.User == "" || f.User == user) &&
		strings.HasPrefix(event.UserAgent, f.UserAgent) &&
		(f.Namespace == "" || f.Namespace == event.ObjectRef.Namespace) &&
		(f.Resource == "" || f.Resource == event.ObjectRef.Resource) &&
		(len(f.Verbs) == 0 || slices.Contains(f.Verbs, event.Verb))
}

// auditEvents returns each request once, at its latest stage.
func (cp *ControlPlane) auditEvents() ([]AuditEvent, error) {
	data, err := cp.auditData()
	if err != nil {
		return nil, err
	}
	var events []AuditEvent
	index := map[string]int{}
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		var event AuditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("%s: %w", cp.auditPath, err)
		}
		if i, seen := index[string(event.AuditID)]; seen {
			events[i] = event
			continue
		}
		index[string(event.AuditID)] = len(events)
		events = append(events, event)
	}
	return events, nil
}

// auditData returns the audit log since the test began.
func (cp *ControlPlane) auditData() ([]byte, error) {
	file, err := os.Open(cp.auditPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	if _, err := file.Seek(cp.began.audit, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}

// audit makes the API server write an audit log if Config.Audit is set, to the configured
// file or to a temporary one.
func (p *plane) audit(logPath *string) error {
	if !p.config.Audit {
		return nil
	}
	if *logPath == "" {
		dir, err := p.tempDir("audit")
		if err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		*logPath = filepath.Join(dir, "audit.log")
	}
	p.auditPath = *logPath
	return nil
}

func (p *plane) auditSize() int64 {
	if p.auditPath == "" {
		return 0
	}
	info, err := os.Stat(p.auditPath)
	if err != nil {
		return 0 // nothing has been written
	}
	return info.Size()
}
