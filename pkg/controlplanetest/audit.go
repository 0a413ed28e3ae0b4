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

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// AuditFilter chooses requests of an audit trail. A field that is empty chooses
// all.
type AuditFilter struct {
	// User is the name of who asked, the impersonated one if there is one. The
	// user of ClientConfig is kubernetes-admin.
	User string
	// UserAgent is what the client's User-Agent header begins with:
	// rest.Config.UserAgent, which by default begins with the name of the
	// program.
	UserAgent string
	// Namespace is that of the objects.
	Namespace string
	// Resource is the plural name of the objects' resource, like "pods".
	Resource string
	// Verbs are the verbs of the API: "create", "update", "patch", "delete",
	// "deletecollection", "get", "list", "watch".
	Verbs []string
}

// ownUsers are who the control plane itself is.
var ownUsers = []string{"system:apiserver", "system:kube-controller-manager"}

// AuditTrail returns the requests for objects that the API server has answered
// since the test began, in that order: who asked, with which verb, for what, and
// the status. Watches are among them once they have begun. Those of the control
// plane itself and of the fixture are left out. On a shared control plane the
// requests of tests that run in parallel are in it: choose by a user agent or
// namespace of your own. It fails the test if Config.Audit is not set.
func (cp *ControlPlane) AuditTrail(t TB, filter AuditFilter) []auditv1.Event {
	t.Helper()
	cp.requireLive(t)
	if cp.auditPath == "" {
		t.Fatalf("controlplanetest: AuditTrail: there is none: set Config.Audit")
	}
	events, err := cp.auditEvents()
	if err != nil {
		t.Fatalf("controlplanetest: AuditTrail: %v", err)
	}
	return slices.DeleteFunc(events, func(event auditv1.Event) bool { return !filter.chooses(&event) })
}

func (f AuditFilter) chooses(event *auditv1.Event) bool {
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

// auditEvents returns each request once, as it was at last.
func (cp *ControlPlane) auditEvents() ([]auditv1.Event, error) {
	data, err := cp.auditData()
	if err != nil {
		return nil, err
	}
	var events []auditv1.Event
	index := map[string]int{}
	for line := range bytes.Lines(data) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		var event auditv1.Event
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

// auditData is the audit log since the test began.
func (cp *ControlPlane) auditData() ([]byte, error) {
	file, err := os.Open(cp.auditPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it has only been read
	if _, err := file.Seek(cp.began.audit, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}

// audit has the API server write a log if the tests want one, or takes that
// which they have configured.
func (p *plane) audit(cfg *apiserver.Audit) error {
	if !p.config.Audit {
		return nil
	}
	if cfg.LogPath == "" {
		dir, err := p.tempDir("audit")
		if err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		cfg.LogPath = filepath.Join(dir, "audit.log")
	}
	p.auditPath = cfg.LogPath
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
